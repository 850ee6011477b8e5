"""Refuses Arrow streams and Parquet files that would take far more memory than their bytes, before they are read.

pyarrow trusts the sizes that a file names, and a few bytes can name gigabytes. The checks read only these sizes:
whether the batches of a stream are compressed (https://arrow.apache.org/docs/format/Columnar.html), and the headers of
a file's pages (https://parquet.apache.org/docs/file-format/).
"""

import struct
from collections.abc import Iterator
from typing import Any

import flatbuffers.table
from flatbuffers.number_types import Int64Flags, Uint8Flags

from inference.errors import BadBody, TooLarge

# Bytes that the pages of a file may have when they are not compressed.
MAX_INFLATED = 64 * 2**20

# Kinds of messages in a stream.
_DICTIONARY, _BATCH = 2, 3
# Flatbuffers number the fields of a table by their place in a list of offsets.
_HEADER_TYPE, _HEADER, _LENGTH, _DATA, _COMPRESSION = 6, 8, 4, 6, 10
# Numbers of the fields that are read of a Parquet file's end, and of a page's header.
_ROW_GROUPS, _COLUMNS, _META_DATA, _COLUMN_SIZE, _DATA_PAGE, _DICTIONARY_PAGE = 4, 1, 3, 7, 9, 11
_PAGE_INFLATED, _PAGE_STORED = 2, 3
# What `_Compact.struct` adds: the position behind the struct.
_NEXT = 0


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
    # pyarrow ends the whole process when it is asked for the columns of some damaged files.
    if len(file) < 12 or file[-4:] != b"PAR1":
        raise BadBody("the body is no Parquet file: its end is missing")
    start = len(file) - 8 - int.from_bytes(file[-8:-4], "little")
    if start < 0:
        raise BadBody("the body is no Parquet file: its end is damaged")
    footer = _Compact(file, start, len(file) - 8).struct()
    total = 0
    try:
        for group in footer[_ROW_GROUPS]:
            for chunk in group[_COLUMNS]:
                column = chunk[_META_DATA]
                # An offset of 0 is that of no page.
                offsets = [column[key] for key in (_DICTIONARY_PAGE, _DATA_PAGE) if column.get(key)]
                for inflated in _pages(file, min(offsets, default=0), column[_COLUMN_SIZE]):
                    total += inflated
                    if total > MAX_INFLATED:
                        raise TooLarge("the file is too large when it is not compressed; send several files")
    except (AttributeError, LookupError, TypeError, ValueError):
        raise BadBody("the body is no Parquet file: its end is damaged") from None


def _pages(file: bytes, start: int, size: int) -> Iterator[int]:
    """The bytes of each page of a column when it is not compressed."""
    at, end = start, start + size
    if not 0 <= start <= end <= len(file):
        raise BadBody("the body is no Parquet file: a column is outside of the file")
    while at < end:
        header = _Compact(file, at, end).struct()
        inflated, stored = header[_PAGE_INFLATED], header[_PAGE_STORED]
        if min(inflated, stored) < 0:
            raise BadBody("the body is no Parquet file: a page is damaged")
        yield inflated
        at = header[_NEXT] + stored


def _root(metadata: bytes) -> Any:
    [position] = struct.unpack_from("<I", metadata)
    return flatbuffers.table.Table(bytearray(metadata), position)


def _child(table: Any, field: int) -> Any:
    offset = table.Offset(field)
    if not offset:
        raise ValueError
    return flatbuffers.table.Table(table.Bytes, table.Indirect(table.Pos + offset))


class _Compact:
    """Reads Thrift's compact protocol: numbers, and structs and lists of them. Texts are passed over.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """

    # Kinds of fields.
    STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)
    MAX_DEPTH = 12

    def __init__(self, file: bytes, at: int, end: int):
        self._file, self._at, self._end = file, at, end

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Number of a field → its value, and `_NEXT`. Raises `BadBody`."""
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) & 15 != self.STOP:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            fields[number] = (
                kind == self.TRUE if kind in (self.TRUE, self.FALSE) else self._value(kind, depth)
            )
        fields[_NEXT] = self._at
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (self.I16, self.I32, self.I64):
            return self._zigzag()
        if kind in (self.BYTE, self.TRUE, self.FALSE):
            return self._byte()
        if kind in (self.BINARY, self.DOUBLE):
            size = 8 if kind == self.DOUBLE else self._varint()
            self._at += size
            return None
        if kind == self.STRUCT and depth < self.MAX_DEPTH:
            return self.struct(depth + 1)
        if kind in (self.LIST, self.SET) and depth < self.MAX_DEPTH:
            head = self._byte()
            size = self._varint() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15, depth + 1) for _ in range(size)]
        raise BadBody("the body is no Parquet file: a part of it is damaged")

    def _byte(self) -> int:
        if self._at >= self._end:
            raise BadBody("the body is no Parquet file: a part of it is cut short")
        self._at += 1
        return self._file[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise BadBody("the body is no Parquet file: a number in it is damaged")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
