"""The rows of a query as a file of CSV. The query is run by an account that may only read."""

import csv
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from mlops_lab.data.database import connect
from mlops_lab.errors import LabError, ServiceError, first_line
from mlops_lab.files import write_file
from mlops_lab.settings import Settings

# Rows that are held in memory at once.
CHUNK = 2_000
DATABASES = ("RawData", "CleanData")

_QUERY = re.compile(r"\s*(select|with)\b", re.IGNORECASE)
# MySQL's errors of a connection have these numbers.
_LOST = range(2000, 3000)


class QueryError(LabError):
    """The query can't be run. No later try can succeed."""


def is_query(source: str) -> bool:
    """Whether it is a query and no path."""
    return bool(_QUERY.match(source))


def write_rows(settings: Settings, query: str, file: Path) -> int:
    """Writes the rows of one SELECT to the file, with a header; returns their number.

    Tables are `RawData.…` and `CleanData.…`. Raises `QueryError`, or `ServiceError` while the database is away.
    """
    number = 0
    with (
        _result(settings, query) as (names, rows),
        write_file(file) as path,
        path.open("w", encoding="utf-8", newline="") as target,
    ):
        writer = csv.writer(target)
        writer.writerow(names)
        for row in rows:
            writer.writerow(row)
            number += 1
    return number


@contextmanager
def _result(settings: Settings, query: str) -> Iterator[tuple[list[str], Iterable[Any]]]:
    raw, clean = (make_url(url) for url in (settings.raw_url, settings.clean_url))
    if raw.drivername.startswith("sqlite"):
        try:
            with closing(_read_only(raw.database or "", clean.database or "")) as db:
                cursor = db.execute(query)
                yield [column[0] for column in cursor.description], cursor
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise QueryError(f"the query can't be run: {first_line(error)}") from None
        return
    if settings.reader_db_url is None:
        raise QueryError(
            "there is no account that only reads (LAB_READER_DB_URL), so no query is run; "
            "the stack makes it at its start, the cluster by `make k8s-secrets`"
        )
    engine = connect(settings.reader_db_url.get_secret_value())
    try:
        options: dict[str, Any] = {"stream_results": True, "max_row_buffer": CHUNK, "no_parameters": True}
        with engine.connect().execution_options(**options) as db:
            db.exec_driver_sql("SET SESSION TRANSACTION READ ONLY")
            # PyMySQL takes one statement alone, and leaves a % in it as it is, because it gets no parameters.
            found = db.exec_driver_sql(query)
            yield list(found.keys()), found
    except DBAPIError as error:
        arguments = getattr(error.orig, "args", ())
        if error.connection_invalidated or (arguments and arguments[0] in _LOST):
            raise ServiceError(f"a database fails: {first_line(error)}") from error
        raise QueryError(f"the query can't be run: {first_line(error)}") from None
    finally:
        engine.dispose()


def _read_only(raw: str, clean: str) -> sqlite3.Connection:
    """Both SQLite files in one connection, which can only read them."""
    db = sqlite3.connect("file::memory:", uri=True)
    for name, path in zip(DATABASES, (raw, clean), strict=True):
        db.execute(f"ATTACH DATABASE ? AS {name}", (f"file:{quote(path)}?mode=ro",))
    return db
