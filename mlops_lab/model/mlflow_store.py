"""The SQLite file of an MLflow without a server: made whole, by one process.

MLflow makes its tables in some fifty steps. A kill between two of them, or a second process in the midst, leaves a file
that MLflow can neither use nor repair.

`python -m mlops_lab.model.mlflow_store URL COMMAND…` makes the file, then becomes the command.
"""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from mlops_lab.errors import ServiceError
from mlops_lab.files import locked
from mlops_lab.settings import MLFLOW_ARTIFACTS

SQLITE = "sqlite:///"
# Seconds to wait for another process that makes the file.
PATIENCE = 120.0
# Alembic copies a table under such a name while it changes it.
HALF = "_alembic_tmp_"


def make_store(url: str) -> None:
    """Makes the file of a SQLite URL when there is none; other URLs are a server's matter.

    Raises `ServiceError` when the file is there and half made.
    """
    if (file := store_file(url)) is None:
        return
    if not file.exists():
        with locked(file.with_name(f"{file.name}.lock"), PATIENCE, f"making {file}"):
            if not file.exists():
                _make(file)
    check_whole(file)


def store_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for the others, a server's."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


def check_whole(file: Path) -> None:
    """Raises `ServiceError` when the file is half made or can't be read."""
    if _is_half_made(file):
        raise ServiceError(
            f"{file} is half made, by a command that was ended while it made it; move it away, then run again"
        )


def _make(file: Path) -> None:
    # Imported here, because it takes seconds and the file is mostly there.
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = file.with_name(f"{file.name}.part")
    for left in file.parent.glob(f"{new.name}*"):
        left.unlink()
    store = SqlAlchemyStore(f"{SQLITE}{new}", str(file.with_name(MLFLOW_ARTIFACTS)))
    store.engine.dispose()
    new.replace(file)


def _is_half_made(file: Path) -> bool:
    try:
        # Not read-only: after a kill in the midst of a write SQLite first sets the file right, by its journal.
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=60)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables or any(name.startswith(HALF) for name in tables):
                return True
            return db.execute("SELECT COUNT(*) FROM alembic_version").fetchone() == (0,)
    except sqlite3.Error as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: sqlite3.Error | OSError) -> ServiceError:
    """The error for a file that can't be read."""
    return ServiceError(f"{file} can't be read: {error}; remove the cause, then run again")


if __name__ == "__main__":
    try:
        make_store(sys.argv[1])
    except ServiceError as error:
        sys.exit(f"MLflow: {error}")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 (the command is the lab's own)
