"""The schema of RawData: a new database gets today's tables, an older one is brought to them by Alembic's revisions.

A revision is a file in `migrations/versions`, named by its number. MySQL keeps what a revision did before it was
killed, so a revision of several operations asks first what is there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, inspect, text
from sqlalchemy.exc import DBAPIError

from mlops_lab.data.database import StoreError
from mlops_lab.errors import first_line

MIGRATIONS = Path(__file__).parent / "migrations"
NEWEST = max(file.stem.split("_")[0] for file in MIGRATIONS.glob("versions/[0-9]*.py"))
# Alembic's own table, with one row: the database's revision.
VERSION_TABLE = "alembic_version"
# Seconds to wait for another process that migrates.
PATIENCE = 120


def migrate(metadata: MetaData, engine: Engine) -> str | None:
    """Brings the tables of `metadata` to the newest revision. Returns the earlier revision, or None if nothing changed.

    Many processes may call this at once: one migrates, the others wait. A database without any of the tables gets them
    all; that isn't a change. Raises `StoreError` when the database can't be used, or when a newer release has made it.
    """
    try:
        with engine.connect() as db:
            if _revision(db) == NEWEST:
                return None
        with _locked(engine) as db:
            return _migrate(metadata, db)
    except DBAPIError as error:
        raise StoreError(f"the database can't be used: {first_line(error)}") from error


def _migrate(metadata: MetaData, db: Connection) -> str | None:
    # Alembic loads slowly, and a database is nearly always at the newest revision.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = db
    there = set(inspect(db).get_table_names())
    if not there & set(metadata.tables):
        metadata.create_all(db)
        command.stamp(config, NEWEST)
        return None
    before = _revision(db) or "0001"
    if before > NEWEST:
        raise StoreError(
            f"RawData has revision {before}, made by a newer release; this one knows {NEWEST}: update the code"
        )
    command.upgrade(config, NEWEST)
    # A table that release 1.0 made only later, when it was first needed.
    metadata.create_all(db)
    return before if before != NEWEST else None


def _revision(db: Connection) -> str | None:
    """The database's revision. None: it is new, or of release 1.0."""
    if not inspect(db).has_table(VERSION_TABLE):
        return None
    return db.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608 (a constant)


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """A connection that migrates alone; what it did is committed at the end."""
    with engine.connect() as db:
        if engine.dialect.name == "sqlite":
            # A transaction for the tables too: pysqlite begins none by itself before a CREATE or ALTER.
            db.exec_driver_sql("BEGIN IMMEDIATE")
            yield db
            db.commit()
            return
        if not db.scalar(text("SELECT GET_LOCK('mlops_lab.migrate', :seconds)"), {"seconds": PATIENCE}):
            raise StoreError(f"another process has been migrating RawData for {PATIENCE} s; try again later")
        try:
            yield db
            db.commit()
        finally:
            db.execute(text("SELECT RELEASE_LOCK('mlops_lab.migrate')"))
