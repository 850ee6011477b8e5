"""Many rows into one table at once: `LOAD DATA LOCAL INFILE` on MySQL, tuples on SQLite, INSERT where neither can be.

A MySQL server may answer any statement with "send me this file of yours". PyMySQL would send whatever file is named
once its option `local_infile` is on. So the lab leaves it off, and PyMySQL refuses every such request. Only `_send`
here answers one, with the rows that it was given, from memory. It opens no file.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Any

import pyarrow as pa
from pyarrow.compute import ReplaceSubstringOptions, call_function, fill_null
from pymysql import MySQLError
from pymysql.constants import COMMAND, ER
from pymysql.err import DataError, error_map
from pymysql.protocol import LoadLocalPacketWrapper, OKPacketWrapper
from sqlalchemy import Boolean, Connection, Date, DateTime, Float, Integer, String, Table, insert
from sqlalchemy.exc import DBAPIError

from mlops_lab.data.database import CHUNK, StoreError

log = logging.getLogger(__name__)

# Bytes of Arrow data in one statement. So memory is bounded, and a statement ends long before its time limit.
STATEMENT = 2 * 2**20
# Bytes in one packet of MySQL's protocol, far below the limit of any server.
PACKET = 2**18
# The name of the file that the statement asks for. There is none.
NAME = "rows"
# The Arrow type of each SQL type, the first that fits.
TYPES: list[tuple[type, pa.DataType]] = [
    (Boolean, pa.bool_()),
    (Integer, pa.int64()),
    (Float, pa.float64()),
    (Date, pa.date32()),
    (DateTime, pa.timestamp("us")),
    (String, pa.string()),
]
# A connection's note that its server takes no LOAD DATA.
REFUSED = "lab_no_load"
DOUBLED = ReplaceSubstringOptions("\\", "\\\\")
# What servers answer where loading is off: MySQL 5.7 and earlier, MySQL 8 and later, MariaDB.
OFF = (ER.NOT_ALLOWED_COMMAND, 3948, 4166)


def load(db: Connection, table: Table, rows: pa.Table) -> None:
    """Writes the rows in the caller's transaction, in chunks: neither memory nor a statement grows with their number.

    rows: columns of the table, by name; the table's other columns get NULL. Null is NULL. Each column must convert to
    the table's type without loss.

    Raises `StoreError` when one doesn't, when one is left out that may not be NULL, or when a number isn't finite.
    Raises the errors of SQLAlchemy that an INSERT of these rows would raise, also where LOAD DATA only warns:
    IntegrityError for a key that is taken, DataError for a value that doesn't fit. Part of the rows may be written
    then, so the caller's transaction must end in a rollback.
    """
    if not db.in_transaction():
        db.begin()  # As the first statement of a connection does.
    chunks = _chunks(table, rows)
    if db.dialect.name == "sqlite":
        for chunk in chunks:
            _insert_tuples(db, table, chunk)
    elif db.dialect.driver != "pymysql" or db.info.get(REFUSED):
        for chunk in chunks:
            _insert(db, table, chunk)
    else:
        for chunk, body in _with_csv(chunks):
            if db.info.get(REFUSED) or not _load_data(db, table, chunk, body):
                _insert(db, table, chunk)


def _chunks(table: Table, rows: pa.Table) -> Iterator[pa.Table]:
    """Parts of the rows, with the table's types."""
    kinds = {name: _kind(table, name) for name in rows.column_names}
    for column in table.columns:
        # LOAD DATA would write 0 or an empty text.
        if not (column.name in kinds or column.nullable or column.server_default):
            raise StoreError(f"{table.name} needs a value of {column.name} in each row")
    size = max(1, STATEMENT * rows.num_rows // max(1, rows.nbytes))
    for start in range(0, rows.num_rows, size):
        part = rows.slice(start, size)
        yield pa.table({name: _typed(part[name], kind, table, name) for name, kind in kinds.items()})


def _kind(table: Table, name: str) -> pa.DataType:
    if name not in table.columns:
        raise StoreError(f"table {table.name} has no column {name}")
    type_ = table.columns[name].type
    found = next((kind for sql, kind in TYPES if isinstance(type_, sql)), None)
    if found is None:
        raise TypeError(f"no bulk load of a column of type {type_!r}")
    return found


def _typed(column: pa.ChunkedArray, kind: pa.DataType, table: Table, name: str) -> pa.ChunkedArray:
    try:
        typed = column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise StoreError(f"column {name} of {table.name} doesn't take these values: {error}") from error
    # SQLite would store NaN as NULL, and MySQL has no such numbers.
    if (
        pa.types.is_floating(kind)
        and call_function("all", [call_function("is_finite", [typed])]).as_py() is False
    ):
        raise StoreError(f"column {name} of {table.name} takes no NaN and no infinite number")
    return typed


def _stored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as both SQLite and the CSV for MySQL write it: 0 and 1, and times as ISO 8601."""
    if pa.types.is_boolean(column.type):
        return column.cast(pa.int8())
    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column


def _insert_tuples(db: Connection, table: Table, rows: pa.Table) -> None:
    """Not SQLAlchemy's INSERT, which takes each row as a dictionary and converts each value by itself."""
    preparer = db.dialect.identifier_preparer
    names, marks = ", ".join(map(preparer.quote, rows.column_names)), ", ".join("?" * rows.num_columns)
    statement = f"INSERT INTO {preparer.format_table(table)} ({names}) VALUES ({marks})"  # noqa: S608  # quoted
    values = [_stored(column).to_pylist() for column in rows.columns]
    db.exec_driver_sql(statement, list(zip(*values, strict=True)))


def _insert(db: Connection, table: Table, rows: pa.Table) -> None:
    for start in range(0, rows.num_rows, CHUNK):
        db.execute(insert(table), rows.slice(start, CHUNK).to_pylist())


# MySQL


def _with_csv(chunks: Iterator[pa.Table]) -> Iterator[tuple[pa.Table, memoryview]]:
    """Each chunk with its CSV, which is made while the server still works on the chunk before."""
    with ThreadPoolExecutor(1) as pool:
        ready: tuple[pa.Table, Future[memoryview]] | None = None
        for chunk in chunks:
            coming = chunk, pool.submit(_csv, chunk)
            if ready:
                yield ready[0], ready[1].result()
            ready = coming
        if ready:
            yield ready[0], ready[1].result()


def _csv(rows: pa.Table) -> memoryview:
    r"""The rows as LOAD DATA reads them: every text in quotes, each backslash doubled, and null as `\N`.

    The text `\N` is `\\N` here, and so not null; the empty text is `""`.
    """
    from pyarrow import csv

    columns = []
    for column in map(_stored, rows.columns):
        if pa.types.is_string(column.type):
            column = call_function("replace_substring", [column], DOUBLED)
        # Where nothing is missing, numbers are left to the writer.
        columns.append(fill_null(column.cast(pa.string()), "\\N") if column.null_count else column)
    sink = pa.BufferOutputStream()
    csv.write_csv(pa.table(columns, names=rows.column_names), sink, csv.WriteOptions(include_header=False))
    return memoryview(sink.getvalue())


def _load_data(db: Connection, table: Table, rows: pa.Table, body: memoryview) -> bool:
    """Whether the server took the rows by LOAD DATA. False: it takes none at all, and nothing was written."""
    names = ", ".join(_quoted(name) for name in rows.column_names)
    # Hexadecimal, because a backslash means itself in a server's mode NO_BACKSLASH_ESCAPES.
    statement = (
        f"LOAD DATA LOCAL INFILE '{NAME}' INTO TABLE {_quoted(table.name)} CHARACTER SET utf8mb4 "
        f"FIELDS TERMINATED BY ',' ENCLOSED BY 0x22 ESCAPED BY 0x5C LINES TERMINATED BY 0x0A ({names})"
    )
    connection: Any = db.connection.driver_connection
    try:
        done = _send(connection, statement, body)
    except MySQLError as error:
        if error.args[0] in OFF:
            db.info[REFUSED] = True
            _tell_once(db.engine.url.render_as_string(hide_password=True))
            return False
        if not connection.open:
            db.invalidate(error)
        raise _as_insert(db, statement, error) from error
    except BaseException:
        db.invalidate()
        raise
    if done.warning_count or done.affected_rows != rows.num_rows:
        # With LOCAL a server has nobody to stop: it warns where an INSERT would fail, leaves a row out or cuts a value.
        silent = ("", 0, f"{done.affected_rows:,} of {rows.num_rows:,} rows were taken")
        _, code, message = db.exec_driver_sql("SHOW WARNINGS").first() or silent
        raise _as_insert(db, statement, error_map.get(code, DataError)(code, f"{message} ({table.name})"))
    return True


def _send(connection: Any, statement: str, body: memoryview) -> OKPacketWrapper:
    """Runs LOAD DATA with this body as the file. Whatever else the server asks for, it gets nothing."""
    try:
        connection._execute_command(COMMAND.COM_QUERY, statement)
        asked = connection._read_packet()
        if not asked.is_load_local_packet() or LoadLocalPacketWrapper(asked).filename != NAME.encode():
            raise StoreError(
                f"{connection.host} asks for something else than the rows that it is sent, and gets nothing; "
                "check that it is your database"
            )
        for start in range(0, len(body), PACKET):
            connection.write_packet(body[start : start + PACKET])
        connection.write_packet(b"")
        return OKPacketWrapper(connection._read_packet())
    except MySQLError:
        raise  # The server's answer, after which it waits for the next statement; or the connection is closed.
    except BaseException:
        # The server would take the next statement for more of the file.
        connection._force_close()
        raise


def _as_insert(db: Connection, statement: str, error: Exception) -> BaseException:
    """The error as SQLAlchemy raises it for a statement of its own."""
    return DBAPIError.instance(statement, None, error, MySQLError, dialect=db.dialect)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


@cache
def _tell_once(server: str) -> None:
    log.warning(
        "%s takes no LOAD DATA LOCAL (its setting local_infile is off), so rows are written by INSERT, which takes "
        "several times as long",
        server,
    )
