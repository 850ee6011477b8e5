"""The rows of a file of CSV, packed CSV or Parquet, one after the other, in bounded memory."""

import csv
import gzip
import hashlib
import io
import mmap
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, first_line
from mlops_lab.files import SEPARATORS
from mlops_lab.parquet_pages import DamagedParquetError, page_sizes
from mlops_lab.tabular import arrow_columns, named, rows_of_columns, texts_of

ENDINGS = (".csv", ".csv.gz", ".parquet")
# Characters of a line of CSV, and bytes of one page of a Parquet file: what is held in memory at once.
MAX_LINE, MAX_PAGE = 2**20, 64 * 2**20
# Rows of a Parquet file, and bytes of any file, that are read at once.
BATCH, BLOCK = 2_000, 1 << 20

# A row: a value for each feature, or what is wrong with the line.
Row = dict[str, Any] | ContractError


class SourceError(LabError):
    """The file can't be read, or lacks a column. No later try can succeed while it is as it is."""


class Source:
    """A file of rows. `left_out`: its columns that are no feature of the model."""

    left_out: list[str]

    def rows(self, skip: int) -> Iterator[Row]:
        """Every row after the first `skip` ones. Raises `SourceError` where the file is damaged."""
        raise NotImplementedError

    def share(self) -> float:
        """The fraction of the file that was read."""
        raise NotImplementedError


def open_source(path: Path, contract: Contract) -> Source:
    """The source for a file, by its ending.

    Raises `SourceError` when it isn't what its ending says, lacks a feature or has a column twice.
    """
    if path.name.lower().endswith(".parquet"):
        return _Parquet(path, contract)
    return _Csv(path, contract)


def digest(path: Path, report: Callable[[float], None]) -> str:
    """sha256 of a file; report: is called with the fraction that was read."""
    checksum, size = hashlib.sha256(), max(path.stat().st_size, 1)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum.update(block)
            report(file.tell() / size)
    return checksum.hexdigest()


class _Csv(Source):
    def __init__(self, path: Path, contract: Contract):
        self._path, self._share = path, 0.0
        features = {feature.name for feature in contract.features}
        self._separator = max(SEPARATORS, key=lambda separator: self._known(separator, features))
        self._header: list[str] = next(self._lines(), [])
        self.left_out = _check_columns(path, self._header, contract)

    def rows(self, skip: int) -> Iterator[Row]:
        lines = self._lines()
        next(lines, None)
        for line in islice(lines, skip, None):
            try:
                row = named(self._header, line, 0)
            except ContractError as error:
                yield error
                continue
            for name in self.left_out:
                del row[name]
            yield row

    def share(self) -> float:
        return self._share

    def _known(self, separator: str, features: set[str]) -> int:
        """How many features the header names when it is read by this separator."""
        self._separator = separator
        try:
            return len(features.intersection(next(self._lines(), [])))
        except SourceError:  # such as quotes around each name, read by another separator
            return -1

    def _lines(self) -> Iterator[list[str]]:
        """The lines that are not empty, the header first."""
        found, packed = 0, self._path.name.lower().endswith(".gz")
        size = max(self._path.stat().st_size, 1)
        try:
            with self._path.open("rb") as file, gzip.open(file) if packed else file as content:
                for line in csv.reader(_texts(content), delimiter=self._separator, strict=True):
                    if line:
                        yield line
                        found += 1
                        self._share = file.tell() / size
        except (UnicodeDecodeError, csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
            after = f" after row {found - 1}" if found > 1 else ""
            raise SourceError(f"{self._path.name} is not CSV in UTF-8{after}: {first_line(error)}") from None


class _Parquet(Source):
    def __init__(self, path: Path, contract: Contract):
        from pyarrow import parquet

        self._path, self._read = path, 0
        _check_pages(path)
        with self._reading(), parquet.ParquetFile(path) as opened:
            self._rows, schema = opened.metadata.num_rows, opened.schema_arrow
        self.left_out = _check_columns(path, schema.names, contract)
        self._columns, self._texts = [feature.name for feature in contract.features], texts_of(schema)
        try:
            arrow_columns(schema.empty_table().select(self._columns))
        except ContractError as error:
            [fault] = error.problems
            raise SourceError(f"{path.name}: the column {fault['field']} {fault['message']}") from None

    def rows(self, skip: int) -> Iterator[Row]:
        import pyarrow
        from pyarrow import parquet

        # A small buffer: pyarrow would read each column of a row group whole.
        options: dict[str, Any] = {"read_dictionary": self._texts, "buffer_size": BLOCK}
        with self._reading(), parquet.ParquetFile(self._path, **options) as file:
            groups, self._read = list(range(file.metadata.num_row_groups)), 0
            while groups and self._read + (size := file.metadata.row_group(groups[0]).num_rows) <= skip:
                self._read += size
                groups.pop(0)
            before = skip - self._read
            for batch in file.iter_batches(BATCH, groups, self._columns, use_threads=False):
                batch.validate(full=True)
                rows = rows_of_columns(arrow_columns(pyarrow.Table.from_batches([batch])))
                self._read += len(rows)
                yield from rows[before:]
                before = max(0, before - len(rows))

    def share(self) -> float:
        return self._read / max(self._rows, 1)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Turns an error of pyarrow in the block into a `SourceError`."""
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
            # An error of the disk has a number; what pyarrow says of a file has none.
            if isinstance(error, OSError) and error.errno:
                raise
            after = f" after row {self._read}" if self._read else ""
            raise SourceError(f"{self._path.name} is damaged{after}: {first_line(error)}") from None


def _texts(content: Any) -> Iterator[str]:
    """The lines of an open binary file as texts, with a limit to their length."""
    text = io.TextIOWrapper(content, encoding="utf-8-sig", newline="")
    while line := text.readline(MAX_LINE):
        if len(line) == MAX_LINE and line[-1] not in "\r\n":
            raise csv.Error(f"a line has more than {MAX_LINE} characters")
        yield line


def _check_pages(path: Path) -> None:
    """Raises `SourceError` when the file is damaged, or has a page that takes too much memory."""
    name = path.name
    try:
        if not path.stat().st_size:
            raise DamagedParquetError("it is empty")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            largest = max(page_sizes(content), default=0)
    except DamagedParquetError as error:
        raise SourceError(f"{name} is no Parquet file: {error}") from None
    if largest > MAX_PAGE:
        raise SourceError(
            f"{name} has a page of {largest / 2**20:,.0f} MiB when it is not compressed, and at most "
            f"{MAX_PAGE // 2**20} MiB are read at once; write it with smaller pages"
        )


def _check_columns(path: Path, names: list[str], contract: Contract) -> list[str]:
    """The columns that are no feature. Raises `SourceError` when a feature has no column, or two."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{path.name} has two columns of the name {_listed(twice)}")
    features = [feature.name for feature in contract.features]
    if missing := [name for name in features if name not in names]:
        what = f"lacks the column{'s' * (len(missing) > 1)} {_listed(missing)}" if names else "is empty"
        raise SourceError(f"{path.name} {what}; {contract.use_case} needs: {_listed(features)}")
    return [name for name in names if name not in features]


def _listed(names: list[str]) -> str:
    """The first names, cut."""
    shown = ", ".join(name[:60] for name in names[:50])
    return shown + (f" and {len(names) - 50} more" if len(names) > 50 else "")
