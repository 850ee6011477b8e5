"""A person's own table as texts: CSV with any separator and a usual encoding, plain or gzipped, or Parquet."""

import csv
import gzip
import io
import itertools
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mlops_lab.errors import LabError
from mlops_lab.files import SEPARATORS
from mlops_lab.formatting import counted
from mlops_lab.parquet_pages import DamagedParquetError, page_sizes

# Records that are looked at to find the separator.
SAMPLE = 100
# A number with a decimal comma, with or without points between thousands.
DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+")


class TableError(LabError):
    """A file can't be read as a table. The text says what to change in it."""


@dataclass(frozen=True)
class Table:
    """frame: every value as a text without spaces around it, "" where there is none; distinct column names.

    notes: what was found or changed while reading, in words.
    """

    frame: pd.DataFrame
    notes: list[str]


def read_table(path: Path, most: int | None = None) -> Table:
    """The table in a file. Raises `TableError` when it can't be read.

    most: bytes that it may have when it is unpacked; None: any number.
    """
    notes: list[str] = []
    try:
        if path.name.lower().endswith((".parquet", ".pq")):
            if most is not None:
                _check_size(sum(page_sizes(path.read_bytes())), most, path.name)
            frame = _parquet(path)
        else:
            with path.open("rb") as file:
                packed = file.read(2) == b"\x1f\x8b"
            with gzip.open(path) if packed else path.open("rb") as file:
                data = file.read(-1 if most is None else most + 1)
            _check_size(len(data), most, path.name)
            frame = _csv(_decoded(data, notes), path.name, notes)
    except FileNotFoundError:
        raise TableError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error, DamagedParquetError) as error:
        raise TableError(f"{path.name} can't be read: {error}") from error
    if frame.empty:
        raise TableError(f"{path.name} has no rows")
    named = _without_row_numbers(_named(frame, path.name), notes)
    return Table(_with_points(named, notes), notes)


def _check_size(size: int, most: int | None, name: str) -> None:
    if most is not None and size > most:
        raise TableError(
            f"{name} has more than {most / 2**20:.0f} MB when it is unpacked; `lab new` reads files of any size"
        )


def _parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = {name: table[name].cast(pa.string()).fill_null("") for name in table.column_names}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(f"{path.name} can't be read as Parquet: {str(error).splitlines()[0]}") from error
    return pd.DataFrame({name: column.to_pandas().replace("nan", "") for name, column in columns.items()})


def _decoded(data: bytes, notes: list[str]) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        notes.append("read as UTF-16")
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.append("it isn't UTF-8; read as Windows-1252, so look at letters with accents")
        return data.decode("cp1252", errors="replace")


def _csv(text: str, name: str, notes: list[str]) -> pd.DataFrame:
    separator = _separator(text)
    records = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header: list[str] = next((record for record in records if record), [])
    if not header:
        raise TableError(f"{name} is empty")
    if "\x00" in text:
        raise TableError(f"{name} isn't a text file; CSV, CSV.gz and Parquet are read")
    for record in records:
        if record and len(record) != len(header):
            raise TableError(
                f"{name} line {records.line_num} has {counted(len(record), 'value')}, and the header names "
                f"{counted(len(header), 'column')}; repair the line"
            )
    # With a header of its own, pandas would rename a name that comes twice.
    frame = pd.read_csv(
        io.StringIO(text), sep=separator, header=0, names=range(len(header)), dtype=str, keep_default_na=False
    )
    frame.columns = pd.Index(header)
    if separator != ",":
        notes.append(f"its separators are {SEPARATORS[separator]}")
    return frame


def _separator(text: str) -> str:
    """The separator by which most of the first records have as many fields, of more than one, as the header."""

    def fit(separator: str) -> tuple[float, int]:
        records = csv.reader(io.StringIO(text[:1_000_000]), delimiter=separator)
        widths = [len(row) for row in itertools.islice(records, SAMPLE) if row]
        if not widths or widths[0] < 2:
            return 0.0, 0
        return sum(width == widths[0] for width in widths) / len(widths), widths[0]

    best = max(SEPARATORS, key=fit)
    return best if fit(best)[0] else ","


def _with_points(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Numbers with a decimal comma become numbers with a point, in columns where nearly all values are such."""
    changed: dict[str, pd.Series] = {}
    for name in frame.columns:
        values = frame[name]
        known = values[values != ""]
        whole = known.str.fullmatch(r"[+-]?\d+")
        commas = known.str.fullmatch(DECIMAL_COMMA.pattern)
        if commas.sum() < 1 or (commas | whole).mean() < 0.95:
            continue
        points = values.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        changed[str(name)] = points.where(values.str.fullmatch(DECIMAL_COMMA.pattern), values)
    if changed:
        notes.append(f"decimal commas became points: {_some(list(changed))}")
    return frame.assign(**changed)


def _named(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """With names that are distinct, without spaces around them; values likewise."""
    names = [str(column).strip() for column in frame.columns]
    first = frame.iloc[:, 0]
    if names[0] == "":
        names[0] = "row_number" if _counts(first) else "column_1"
    if "" in names:
        raise TableError(f"{name}: column {names.index('') + 1} has no name; name it in the first line")
    lower = [column.lower() for column in names]
    if twice := sorted({column for column in names if lower.count(column.lower()) > 1}):
        raise TableError(f"{name} names two columns {' and '.join(twice)}; rename one")
    if all(re.fullmatch(r"[+-]?\d+(\.\d+)?", column) for column in names):
        raise TableError(f"{name} has numbers in its first line; put the names of the columns there")
    frame.columns = pd.Index(names)
    return pd.DataFrame({name: frame[name].str.strip() for name in names})


def _without_row_numbers(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    if frame.columns[0] == "row_number" and frame.shape[1] > 1:
        notes.append("its first column without a name numbers the rows, and is left out")
        return frame.iloc[:, 1:]
    return frame


def _counts(column: pd.Series) -> bool:
    numbers = pd.to_numeric(column, errors="coerce")
    return bool(numbers.notna().all() and (numbers.diff().dropna() == 1).all())


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
