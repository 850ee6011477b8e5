"""Rows whose values are hard to write, and rows that a table must refuse, with a table of their own.

The stack's test sends this file's text into the worker, so it imports nothing of the tests.
"""

from datetime import date

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    func,
    select,
)
from sqlalchemy.exc import DataError, IntegrityError

from mlops_lab.data.bulk import load
from mlops_lab.data.database import StoreError

TEXTS = [
    *("", None, "NULL", "N", " a ", "'", "%s %%", "1e5", ",", ";", '"', '""', 'a"b', '",\n"'),
    *("\\N", "\\\\N", '"\\N"', "\\", "a\\", "\\0", "\\n", '\\"'),
    *("\n", "\r\n", "\t", "\0", "a\0b", "\x1a", "\x85\u2028", "\ufeffa", "\U0001f600 ñ"),
    "a" * 60_000,
]
# The smallest and the largest, and some that take all 17 digits.
NUMBERS = [0.1, 1 / 3, -0.5, 5e-324, 1.7976931348623157e308, None, 123456789.12345679, 2.0**53]
TABLE = Table(
    'lab`s %s "rows"',
    MetaData(),
    Column("key", BigInteger, primary_key=True, autoincrement=False),
    Column("text", Text),
    Column('a `b` %s "c"', Text),
    Column("number", Double),
    Column("yes", Boolean),
    Column("day", Date),
    Column("count", BigInteger),
    Column("short", String(5)),
)


def odd_rows() -> pa.Table:
    """Each text beside others, so that the end of one and the beginning of the next are told apart."""
    n = len(TEXTS)
    return pa.table(
        {
            # Not in the order of the table's columns.
            "text": TEXTS,
            'a `b` %s "c"': TEXTS[::-1],
            "key": range(n),
            "number": [NUMBERS[i % len(NUMBERS)] for i in range(n)],
            "yes": [(True, False, None)[i % 3] for i in range(n)],
            "day": [(date(2020, 2, 29), None, date(1000, 1, 1), date(9999, 12, 31))[i % 4] for i in range(n)],
            "count": [(2**63 - 1, -(2**63), None, 0)[i % 4] for i in range(n)],
        }
    )


# What any database refuses, and what one with types and lengths refuses.
REFUSED = [
    ({"key": [0]}, IntegrityError),
    ({"key": [1000, 1000]}, IntegrityError),
    ({"key": [1000], "unknown": [1]}, StoreError),
    ({"text": ["a"]}, StoreError),
    ({"key": [1.5]}, StoreError),
    ({"key": [1000], "number": [float("nan")]}, StoreError),
    ({"key": [1000], "number": [float("-inf")]}, StoreError),
    ({"key": [1000], "number": ["many"]}, StoreError),
    ({"key": [1000], "day": ["2020-02-30"]}, StoreError),
    ({"key": [None]}, (IntegrityError, DataError)),
]
REFUSED_BY_MYSQL = [
    ({"key": [1000], "short": ["123456"]}, DataError),
    ({"key": [1000], "text": ["ñ" * 40_000]}, DataError),
]


def check(engine: Engine) -> None:
    """Loads the rows, compares them, and sees that the others are refused and leave nothing. Raises AssertionError."""
    rows, mysql = odd_rows(), engine.dialect.name == "mysql"
    TABLE.drop(engine, checkfirst=True)
    TABLE.create(engine)
    try:
        with engine.begin() as db:
            load(db, TABLE, rows)
        with engine.connect() as db:
            found = db.execute(select(*(TABLE.c[name] for name in rows.column_names)).order_by(TABLE.c.key))
            stored = [tuple(row) for row in found]
        wanted = [tuple(row.values()) for row in rows.to_pylist()]
        # As texts, which tell True from 1.
        assert [*map(repr, stored)] == [*map(repr, wanted)]
        for refused, error in REFUSED + REFUSED_BY_MYSQL * mysql:
            try:
                with engine.begin() as db:
                    load(db, TABLE, rows.slice(0, 1).set_column(2, "key", [[999]]))
                    load(db, TABLE, pa.table(refused))
            except error:
                pass
            else:
                raise AssertionError(f"{str(refused)[:100]} was not refused")
            with engine.connect() as db:
                count = db.scalar(select(func.count()).select_from(TABLE))
                assert count == len(wanted), f"{str(refused)[:100]} left rows"
    finally:
        TABLE.drop(engine)
