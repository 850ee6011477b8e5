"""Files that can't be scored: one clear line, and nothing is left behind."""

import gzip
import io
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from mlops_lab.errors import LabError
from mlops_lab.scoring.scorer import default_target
from tests.scoring.files import bytes_of, frame

ROWS = frame(450)
CSV = ROWS.to_csv(index=False).encode()


def parquet_of(rows: pd.DataFrame | pa.Table, **options) -> bytes:
    target, table = io.BytesIO(), rows if isinstance(rows, pa.Table) else pa.Table.from_pandas(rows)
    parquet.write_table(table, target, **options)
    return target.getvalue()


PARQUET = parquet_of(ROWS, row_group_size=150)
FEWER = ROWS.drop(columns=["kind", "sold"]).to_csv(index=False)
LISTS = pa.Table.from_pandas(ROWS).set_column(0, "area", pa.array([[1.0]] * 450))
LONG = pa.table({"kind": ["x" * 70 * 2**20]})
NEEDS = "houses needs: area, rooms, kind, state, garden, sold"
FILES = {
    "a column too few": ("a.csv", FEWER, "lacks the columns kind, sold; " + NEEDS),
    "other columns": ("a.csv", "x;y\n1;2\n", "lacks the columns area, rooms, kind"),
    "a column twice": ("a.csv", CSV.replace(b"kind", b"area", 1), "has two columns of the name area"),
    "nothing": ("a.csv", "", "a.csv is empty; " + NEEDS),
    "only a header": ("a.csv", CSV.splitlines()[0], "a.csv has no row"),
    "another encoding": ("a.csv", CSV.replace(b"flat", b"fl\xe4t", 900), "a.csv is not CSV in UTF-8: 'utf-8' codec"),
    "another encoding at its end": ("a.csv", CSV + b"1,2,fl\xe4t,x,true,\n", "a.csv is not CSV in UTF-8 after row "),
    "a quote that stays open": ("a.csv", CSV + b'1,"2', "not CSV in UTF-8 after row 450: unexpected end"),
    "a line without end": ("a.csv", CSV + b"1," * 2**20, "a line has more than 1048576 characters"),
    "no gzip": ("a.csv.gz", CSV, "a.csv.gz is not CSV in UTF-8: Not a gzipped file"),
    "gzip cut short": ("a.csv.gz", gzip.compress(CSV)[:-900], "not CSV in UTF-8 after row "),
    "gzip with a wrong sum": ("a.csv.gz", gzip.compress(CSV)[:-8] + bytes(8), "after row 450: CRC check failed"),
    "a line of a gigabyte": ("a.csv.gz", gzip.compress(bytes(2**26)), "a line has more than 1048576 characters"),
    "no parquet": ("a.parquet", CSV, "a.parquet is no Parquet file: its end is missing"),
    "an empty parquet": ("a.parquet", "", "a.parquet is no Parquet file: it is empty"),
    "parquet cut short": ("a.parquet", PARQUET[:-300], "a.parquet is no Parquet file: its end is missing"),
    "parquet with a wrong end": ("a.parquet", PARQUET[:-300] + PARQUET[-8:], "a.parquet is no Parquet file: "),
    "parquet without rows": ("a.parquet", parquet_of(ROWS[:0].astype({"kind": str})), "a.parquet has no row"),
    "a column of lists": ("a.parquet", parquet_of(LISTS), "a.parquet: the column area must be numbers, booleans"),
    "a page too large": ("a.parquet", parquet_of(LONG), "a.parquet has a page of 70 MiB"),
    "another ending": ("a.xlsx", CSV, "a.xlsx: rows are a file that ends in .csv, .csv.gz, .parquet"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_scored_is_one_clear_line(run, tmp_path, name):
    file, content, says = FILES[name]
    source = tmp_path / file
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(LabError) as raised:
        run(source, tmp_path / "out.csv")
    assert says in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert sorted(bytes_of(tmp_path)) == [file]


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("rows.csv", "out.txt", "out.txt: predictions are written to a file that ends in .csv or .parquet"),
        ("rows.csv", "rows.csv", "rows.csv has the rows; name another file"),
        ("rows.csv", "folder.csv", "folder.csv is a folder"),
        ("folder.csv", "out.csv", "folder.csv is no file"),
        ("nothing.csv", "out.csv", "there is no file "),
    ],
)
def test_a_wrong_name_is_one_clear_line(run, tmp_path, source, target, says):
    (tmp_path / "rows.csv").write_bytes(CSV)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LabError, match=says):
        run(tmp_path / source, tmp_path / target)
    assert sorted(bytes_of(tmp_path)) == ["folder.csv", "rows.csv"]


def test_no_damaged_parquet_file_ends_the_process(run, tmp_path):
    source = tmp_path / "rows.parquet"
    scored = 0
    for at in range(4, len(PARQUET), len(PARQUET) // 50):
        source.write_bytes(PARQUET[:at] + bytes([PARQUET[at] ^ 0x55]) + PARQUET[at + 1 :])
        try:
            scored += run(source, tmp_path / "out.csv").rows
        except LabError:
            continue
    assert scored
    assert not list(tmp_path.glob("*.part"))


def test_the_default_name_of_the_result():
    for name in ("rows.csv", "rows.csv.gz", "rows.CSV", "rows.parquet"):
        assert default_target(Path("folder") / name) == Path("folder/rows.predictions.csv")
