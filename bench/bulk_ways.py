"""The rows that the bulk load is measured with, and the ways of writing them. `python bulk_ways.py …` measures one.

Each way starts from the same pandas DataFrame and ends when its rows are committed in a table that was empty.
"""

import csv
import hashlib
import json
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pymysql
from memory_peak import memory, reset_peak
from sqlalchemy import BigInteger, Column, Date, Double, Engine, MetaData, Table, Text, insert, select

from mlops_lab.data.bulk import load
from mlops_lab.data.database import connect

VARIANTS = {
    "mixed": "a key, 20 numbers, 9 integers, 10 short texts, 10 dates; a tenth of all but the integers is missing",
    "texts": "a key and 49 texts of 40 to 120 characters, some with quotes, backslashes and line ends",
    "dates": "a key and 49 dates; a tenth is missing",
}
# How the ways are named in the tables.
WAYS = {
    "lab": "the lab",
    "file": "`LOAD DATA LOCAL INFILE` alone: the file is there, nothing is checked",
    "csv": "`DataFrame.to_csv` and `LOAD DATA LOCAL INFILE`",
    "executemany": "SQLAlchemy's executemany",
    "to_sql": "`DataFrame.to_sql`, as it comes",
    "multi": "SQLAlchemy's INSERT with 500 rows of values",
}
# Takes minutes for all rows, so it writes this share of them; its figures are extrapolated.
SHARE = {"multi": 0.05}
SQLITE_WAYS = ("lab", "executemany", "to_sql", "multi")
INFILE = (
    "LOAD DATA LOCAL INFILE '{}' INTO TABLE rows_50 CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' "
    "OPTIONALLY ENCLOSED BY '\"' LINES TERMINATED BY '\\n'"
)


def rows(variant: str, n: int) -> pd.DataFrame:
    """n rows, the same each time."""
    rng, columns = np.random.default_rng(17), {"key": np.arange(n)}
    kinds = {"mixed": "n" * 20 + "i" * 9 + "t" * 10 + "d" * 10, "texts": "l" * 49, "dates": "d" * 49}[variant]
    words = np.array(
        ["for_sale", "Boston", 'a "quoted" word', "back\\slash", "two\nlines", "ñandú", "", "1,5"],
        dtype=object,
    )
    days = np.array([date(1990, 1, 1) + timedelta(days=i) for i in range(10_000)], dtype=object)
    for number, kind in enumerate(kinds):
        if kind == "n":
            values = rng.normal(size=n)
        elif kind == "i":
            values = rng.integers(0, 10**9, n)
        elif kind == "t":
            values = rng.choice(words, n)
        elif kind == "l":
            parts = [rng.choice(words, n) for _ in range(3)]
            values = np.array(
                [f"{'x' * 40}{a} {b} {c}" for a, b, c in zip(*parts, strict=True)], dtype=object
            )
        else:
            values = rng.choice(days, n)
        if kind in "ntd":
            values = pd.Series(values, dtype="float64" if kind == "n" else object).mask(
                rng.random(n) < 0.1, None
            )
        columns[f"{kind}{number}"] = values
    return pd.DataFrame(columns)


def table(frame: pd.DataFrame) -> Table:
    """The table of the rows."""
    kinds = {"n": Double, "i": BigInteger, "t": Text, "l": Text, "d": Date}
    key = Column("key", BigInteger, primary_key=True, autoincrement=False)
    return Table("rows_50", MetaData(), key, *(Column(n, kinds[n[0]]) for n in frame.columns[1:]))


def way(name: str, engine: Engine, target: Table, frame: pd.DataFrame, folder: Path) -> Callable[[], None]:
    """What is measured; what has to be there before is made now."""
    path = folder / "rows.csv"
    if name == "file":
        _write_csv(frame, path)

    def by_lab() -> None:
        with engine.begin() as db:
            load(db, target, pa.Table.from_pandas(frame, preserve_index=False))

    def by_file() -> None:
        if name == "csv":
            _write_csv(frame, path)
        url = engine.url
        with pymysql.connect(
            host=url.host or "",
            port=url.port or 3306,
            user=url.username,
            password=url.password or "",
            database=url.database,
            local_infile=True,
        ) as connection:
            connection.cursor().execute(INFILE.format(path))
            connection.commit()

    def by_executemany() -> None:
        with engine.begin() as db:
            db.execute(insert(target), records(frame))

    def by_to_sql() -> None:
        frame.to_sql(target.name, engine, if_exists="append", index=False)

    def by_multi() -> None:
        with engine.begin() as db:
            for start in range(0, len(frame), 500):
                db.execute(insert(target).values(records(frame[start : start + 500])))

    return {
        "lab": by_lab,
        "file": by_file,
        "csv": by_file,
        "executemany": by_executemany,
        "to_sql": by_to_sql,
        "multi": by_multi,
    }[name]


def records(frame: pd.DataFrame) -> list[dict]:
    """The rows as dictionaries of plain values."""
    nothing: object = None
    return frame.astype(object).where(frame.notna(), nothing).to_dict("records")


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    quoted = {name: frame[name].str.replace("\\", "\\\\") for name in frame.columns if name[0] in "tl"}
    frame.assign(**quoted).to_csv(
        path, index=False, header=False, na_rep="\\N", quoting=csv.QUOTE_MINIMAL, lineterminator="\n"
    )


def contents(found: list[tuple]) -> dict[str, object]:
    """What must be equal after each way: the number of rows, of nulls, and a checksum of all values."""
    digest = hashlib.sha256()
    for row in found:
        digest.update(repr(tuple(row)).encode())
    return {
        "rows": len(found),
        "nulls": sum(row.count(None) for row in map(tuple, found)),
        "sha256": digest.hexdigest(),
    }


def main() -> None:
    """Measures one way in this process of its own, so that its peak memory is its own; prints JSON."""
    name, variant, count, url, folder, compare = sys.argv[1:]
    frame = rows(variant, round(int(count) * SHARE.get(name, 1)))
    target, engine = table(frame), connect(url)
    target.drop(engine, checkfirst=True)
    target.create(engine)
    run = way(name, engine, target, frame, Path(folder))
    before = reset_peak()
    started, cpu = time.perf_counter(), time.process_time()
    run()
    found: dict[str, object] = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu}
    found["mebibytes"] = memory("VmHWM") - before
    if compare == "compare":
        with engine.connect() as db:
            stored = [tuple(row) for row in db.execute(select(target).order_by(target.c.key))]
        wanted = [tuple(record.values()) for record in records(frame)]
        found |= {"stored": contents(stored), "wanted": contents(wanted)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
