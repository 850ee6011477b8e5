"""The sizes in a Parquet file, read without pyarrow.

pyarrow trusts the sizes that a file names, a few bytes can name gigabytes, and its access to the columns of some
damaged files ends the whole process. So the headers of the pages are read first
(https://parquet.apache.org/docs/file-format/).
"""

import mmap
from collections.abc import Iterator
from typing import Any

from mlops_lab.errors import LabError

# Numbers of the fields that are read of a file's end, and of a page's header.
_ROW_GROUPS, _COLUMNS, _META_DATA, _COLUMN_SIZE, _DATA_PAGE, _DICTIONARY_PAGE = 4, 1, 3, 7, 9, 11
_PAGE_INFLATED, _PAGE_STORED = 2, 3
# What `_Compact.struct` adds: the position behind the struct.
_NEXT = 0


class DamagedParquetError(LabError):
    """The bytes are no Parquet file; the text says why."""


def page_sizes(file: bytes | mmap.mmap) -> Iterator[int]:
    """The bytes of each page of the file when it is not compressed. Raises `DamagedParquetError`."""
    if len(file) < 12 or file[-4:] != b"PAR1":
        raise DamagedParquetError("its end is missing")
    start = len(file) - 8 - int.from_bytes(file[-8:-4], "little")
    if start < 0:
        raise DamagedParquetError("its end is damaged")
    footer = _Compact(file, start, len(file) - 8).struct()
    try:
        for group in footer[_ROW_GROUPS]:
            for chunk in group[_COLUMNS]:
                column = chunk[_META_DATA]
                # An offset of 0 is that of no page.
                offsets = [column[key] for key in (_DICTIONARY_PAGE, _DATA_PAGE) if column.get(key)]
                yield from _pages(file, min(offsets, default=0), column[_COLUMN_SIZE])
    except (AttributeError, LookupError, TypeError, ValueError):
        raise DamagedParquetError("its end is damaged") from None


def _pages(file: bytes | mmap.mmap, start: int, size: int) -> Iterator[int]:
    """The bytes of each page of a column when it is not compressed."""
    at, end = start, start + size
    if not 0 <= start <= end <= len(file):
        raise DamagedParquetError("a column is outside of the file")
    while at < end:
        header = _Compact(file, at, end).struct()
        inflated, stored = header[_PAGE_INFLATED], header[_PAGE_STORED]
        if min(inflated, stored) < 0:
            raise DamagedParquetError("a page is damaged")
        yield inflated
        at = header[_NEXT] + stored


class _Compact:
    """Reads Thrift's compact protocol: numbers, and structs and lists of them. Texts are passed over.

    https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
    """

    # Kinds of fields.
    STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)
    MAX_DEPTH = 12

    def __init__(self, file: bytes | mmap.mmap, at: int, end: int):
        self._file, self._at, self._end = file, at, end

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Number of a field → its value, and `_NEXT`. Raises `DamagedParquetError`."""
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
        raise DamagedParquetError("a part of it is damaged")

    def _byte(self) -> int:
        if self._at >= self._end:
            raise DamagedParquetError("a part of it is cut short")
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
                raise DamagedParquetError("a number in it is damaged")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
