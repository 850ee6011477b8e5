"""CSV files, plain or gzipped, served whole or in slices with every text exactly as it stands in the file."""

import csv
import gzip
import itertools
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datos.dataset import NUMBER, DatasetError
from mlops_lab.files import SEPARATORS

csv.field_size_limit(1_000_000)


class Slicing(BaseModel):
    """How a file is cut into batches.

    Slices of `rows_per_batch` rows in the order of the file; with `cut_by` (a column of numbers) and `cuts`,
    first come all rows up to the first cut, then those up to the second, …, each band in such slices.
    """

    model_config = ConfigDict(extra="forbid")

    rows_per_batch: int = Field(15_000, ge=1)
    cut_by: str | None = None
    cuts: list[float] = Field(default_factory=list)

    @model_validator(mode="after")
    def _together(self) -> "Slicing":
        if (self.cut_by is None) != (not self.cuts) or self.cuts != sorted(self.cuts):
            raise ValueError("cut_by and cuts go together, and cuts rise")
        return self


class CsvFile:
    """One CSV file as a data set; the rows stay on disk.

    It is read once at the start, to count fields, find column types and store the offset of each batch.
    Raises DatasetError naming the line when it isn't valid CSV.
    """

    def __init__(self, path: Path, slicing: Slicing) -> None:
        self.path = path
        self.source = f"file {path.name}"
        self._slicing = slicing
        try:
            self._scan()
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{path.name} isn't CSV in UTF-8; save it as UTF-8, or let `lab new` read it"
            ) from error
        except (OSError, EOFError, zlib.error, csv.Error) as error:
            raise DatasetError(
                f"{path.name} can't be read as CSV: {error}; repair or replace the file"
            ) from error

    def read(self, number: int) -> list[list[str]]:
        """Rows of batch `number` as texts; see Dataset."""
        try:
            with _open(self.path) as stream:
                if self._members is None:
                    stream.seek(self._offsets[number - 1])
                    rows = (row for _, _, row in _records(stream))
                    return list(itertools.islice(rows, self.sizes[number - 1]))
                wanted = self._members[number - 1]
                rows = (row for _, _, row in itertools.islice(_records(stream), 1, None))
                return [row for at, row in enumerate(rows) if at in wanted]
        except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{self.path.name} changed while it was read: {error}; call again") from error

    def _scan(self) -> None:
        slicing = self._slicing
        with _open(self.path) as stream:
            records = _records(stream)
            header = next(records, (0, 0, []))[2]
            self.columns = tuple(_header(header, self.path.name))
            if slicing.cut_by is not None and slicing.cut_by not in self.columns:
                raise DatasetError(
                    f"{self.path.name} has no column {slicing.cut_by} to cut by; change datasets.toml"
                )
            by = None if slicing.cut_by is None else self.columns.index(slicing.cut_by)
            types = _Types(self.columns)
            band_of = array("H")
            self._offsets: list[int] = []
            count = 0
            for offset, line, row in records:
                if len(row) != len(header):
                    raise DatasetError(
                        f"{self.path.name} line {line}: {len(row)} fields, but the header has {len(header)}; "
                        "repair or replace the file"
                    )
                types.see(row)
                if by is not None:
                    band_of.append(_band(row[by], slicing.cuts))
                elif count % slicing.rows_per_batch == 0:
                    self._offsets.append(offset)
                count += 1
        if count == 0:
            raise DatasetError(f"{self.path.name} has no rows; replace the file")
        self.kinds = types.kinds()
        self._members = None if by is None else _bands(band_of, slicing.rows_per_batch)
        if self._members is None:
            self.sizes = _sizes(count, slicing.rows_per_batch)
        else:
            self.sizes = tuple(len(members) for members in self._members)


class _Types:
    """Finds the columns in which every text is a number, as reading the file into a frame would."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._columns = columns
        self._kind: dict[int, type] = dict.fromkeys(range(len(columns)), int)
        self._seen: set[int] = set()

    def see(self, row: list[str]) -> None:
        for at, kind in list(self._kind.items()):
            text = row[at]
            if text == "":
                self._kind[at] = float  # a null makes the whole column float
                continue
            self._seen.add(at)
            if kind is int and text.isascii() and text.isdigit() and (text[0] != "0" or text == "0"):
                continue
            match = NUMBER.fullmatch(text)
            if match is None:
                del self._kind[at]
            elif match[2] or match[3]:
                self._kind[at] = float

    def kinds(self) -> dict[str, type]:
        return {self._columns[at]: kind for at, kind in self._kind.items() if at in self._seen}


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _records(stream: IO[bytes]) -> Iterator[tuple[int, int, list[str]]]:
    """Offset in the stream, line number and fields of each record that is not an empty line."""
    position = stream.tell()
    start = position

    def lines() -> Iterator[str]:
        nonlocal position
        for line in stream:
            first = position == 0
            position += len(line)
            yield line.decode("utf-8-sig" if first else "utf-8")

    reader = csv.reader(lines(), strict=True)
    for row in reader:
        if row:
            yield start, reader.line_num, row
        start = position


def _header(header: list[str], name: str) -> list[str]:
    if not header:
        raise DatasetError(f"{name} is empty; replace the file")
    if len(header) == 1 and (
        found := next((text for text in SEPARATORS if text != "," and text in header[0]), None)
    ):
        raise DatasetError(
            f"{name} has {SEPARATORS[found]} between its values; save it with commas, or let `lab new` read it"
        )
    if any(not column.strip() for column in header):
        raise DatasetError(f"{name} has a column without a name; the first line must name the columns")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise DatasetError(f"{name} names the column {twice[0]} twice; rename one")
    return header


def _band(text: str, cuts: list[float]) -> int:
    # A row without a number goes to the last band: no row is lost, and the lab's validation checks it.
    return bisect_left(cuts, float(text)) if NUMBER.fullmatch(text) else len(cuts)


def _bands(band_of: "array[int]", rows_per_batch: int) -> list[set[int]]:
    batches: list[set[int]] = []
    for band in sorted(set(band_of)):
        members = [at for at, other in enumerate(band_of) if other == band]
        batches += [set(members[at : at + rows_per_batch]) for at in range(0, len(members), rows_per_batch)]
    return batches


def _sizes(count: int, rows_per_batch: int) -> tuple[int, ...]:
    return tuple(min(rows_per_batch, count - start) for start in range(0, count, rows_per_batch))
