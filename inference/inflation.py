"""Refuses Arrow streams and Parquet files that would take far more memory than their bytes, before they are read.

pyarrow trusts the sizes that a file names, and a few bytes can name gigabytes. The checks read only these sizes:
whether the batches of a stream are compressed (https://arrow.apache.org/docs/format/Columnar.html), and the headers of
a file's pages (https://parquet.apache.org/docs/file-format/).
"""

import struct
from typing import Any

import flatbuffers.table
from flatbuffers.number_types import Int64Flags, Uint8Flags

from inference.errors import BadBody, TooLarge
from mlops_lab.parquet_pages import DamagedParquetError, page_sizes

# Bytes that the pages of a file may have when they are not compressed.
MAX_INFLATED = 64 * 2**20

# Kinds of messages in a stream.
_DICTIONARY, _BATCH = 2, 3
# Flatbuffers number the fields of a table by their place in a list of offsets.
_HEADER_TYPE, _HEADER, _LENGTH, _DATA, _COMPRESSION = 6, 8, 4, 6, 10


def check_message(metadata: bytes) -> int:
    """The rows in one message of an Arrow stream. Raises `BadBody` when it is compressed, or damaged."""
    try:
        message = _root(metadata)
        kind = (
            message.Get(Uint8Flags, message.Pos + offset) if (offset := message.Offset(_HEADER_TYPE)) else 0
        )
        if kind not in (_DICTIONARY, _BATCH):
            return 0
        batch = _child(message, _HEADER)
        if kind == _DICTIONARY:
            batch = _child(batch, _DATA)
        if batch.Offset(_COMPRESSION):
            raise BadBody("the stream is compressed; send it without compression")
        offset = batch.Offset(_LENGTH)
        rows = batch.Get(Int64Flags, batch.Pos + offset) if offset else 0
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise BadBody("the body is no Arrow stream: a message is damaged") from error
    return rows if kind == _BATCH else 0


def check_pages(file: bytes) -> None:
    """Raises `TooLarge` when the pages of a Parquet file become too large, `BadBody` when one is damaged."""
    total = 0
    try:
        for inflated in page_sizes(file):
            total += inflated
            if total > MAX_INFLATED:
                raise TooLarge("the file is too large when it is not compressed; send several files")
    except DamagedParquetError as error:
        raise BadBody(f"the body is no Parquet file: {error}") from None


def _root(metadata: bytes) -> Any:
    [position] = struct.unpack_from("<I", metadata)
    return flatbuffers.table.Table(bytearray(metadata), position)


def _child(table: Any, field: int) -> Any:
    offset = table.Offset(field)
    if not offset:
        raise ValueError
    return flatbuffers.table.Table(table.Bytes, table.Indirect(table.Pos + offset))
