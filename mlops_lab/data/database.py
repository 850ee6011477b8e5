"""Access to a database: the engine, the clock, creating tables."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.exc import OperationalError

from mlops_lab.errors import ServiceError, first_line

# Rows in one statement. MySQL packets stay far below their limit.
CHUNK = 2000


class StoreError(ServiceError):
    """A database can't be reached, or its tables don't fit the use case."""


def connect(
    url: str,
    *,
    connect_timeout: float | None = None,
    statement_timeout: float = 300,
    wal: bool = False,
    **options: Any,
) -> Engine:
    """An engine for SQLite, MySQL or PostgreSQL that survives a restart of the server.

    connect_timeout:   seconds to wait for a connection (default 10); on SQLite, to wait for another writer (60).
    statement_timeout: seconds that a statement may take; SQLite has no such limit.
    wal:               SQLite: write-ahead log, so that readers and a writer don't block each other.
    options:           passed to `sqlalchemy.create_engine`.
    """
    if url.startswith("sqlite"):
        wait = 60 if connect_timeout is None else connect_timeout
        engine = create_engine(url, connect_args={"timeout": wait}, **options)
        if wal:
            event.listen(engine, "connect", _use_wal)
        return engine
    limits: dict[str, Any] = {"connect_timeout": max(1, round(connect_timeout or 10))}
    postgres = url.startswith("postgres")
    if postgres:
        limits["options"] = f"-c statement_timeout={round(statement_timeout * 1000)}"
    else:
        limits |= {"read_timeout": statement_timeout, "write_timeout": statement_timeout}
        # MySQL's default would show a transaction the rows of its first query, and lock gaps between rows.
        options.setdefault("isolation_level", "READ COMMITTED")
    engine = create_engine(url, connect_args=limits, pool_pre_ping=True, pool_recycle=1800, **options)
    if not postgres:
        event.listen(engine, "do_connect", _greeted_in_time)
    return engine


def _greeted_in_time(dialect: Any, _record: Any, arguments: Any, limits: dict[str, Any]) -> Any:
    """A connection to MySQL. PyMySQL reads the server's greeting with the limit of a statement, which is minutes."""
    from pymysql.constants import CLIENT

    statement = limits["read_timeout"]
    greeting = min(limits["connect_timeout"], statement)
    # For LOAD DATA; `mlops_lab/data/bulk.py` says why no server gets a file by it.
    flags = limits.get("client_flag", 0) | CLIENT.LOCAL_FILES
    connection = dialect.connect(*arguments, **{**limits, "read_timeout": greeting, "client_flag": flags})
    connection._read_timeout = statement
    return connection


def now() -> datetime:
    """UTC without an offset, as all databases of the lab store it; whole milliseconds."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def create(metadata: MetaData, engine: Engine) -> None:
    """Creates the tables that don't exist yet. Raises `StoreError` when the database can't be used."""
    try:
        metadata.create_all(engine)
    except OperationalError as error:
        # Two processes can find the same table absent. The second one ignores "already exists".
        if "exists" not in str(error.orig):
            place = engine.url.render_as_string(hide_password=True)
            raise StoreError(f"the database {place} can't be used: {first_line(error)}") from error
        metadata.create_all(engine)


def _use_wal(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
