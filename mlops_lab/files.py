"""Small files that are whole or absent, the names of data files, and locks between processes of one machine."""

import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_lab.errors import ServiceError

# The header by which the Data API tells a lab on the same machine whose positions it keeps: `path_id` of their file.
OWNER = "X-Lab-Positions"
# The header by which it tells that a data set's file is at fault: the text of the reply says all, and the same request
# can succeed only when a person has done something.
FILE_FAULT = "X-Lab-File-Fault"
# The publishers' file names start with these words; any other data file is named by its own stem.
PUBLISHED = {"realtor": "realtor", "diabet": "diabetes", "covertype": "covertype"}

# What stands between the values of a CSV file, in the order in which it is tried.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def write_whole(path: Path, content: str, mode: int = 0o644) -> None:
    """Writes the text beside the path and renames it, so that a kill or a full disk leaves the file as it was.

    The folder is made. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def write_file(path: Path) -> Iterator[Path]:
    """A path beside `path`, which the block writes; then the file is renamed, so that it is whole or absent."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """A secret that is made once and kept in the file, readable by its owner alone."""
    with locked(path.with_name("secrets.lock"), 30, "making secrets"):
        # An empty file is what a full disk left in an earlier version.
        if not path.exists() or not path.read_text():
            write_whole(path, make(), 0o600)
        return path.read_text()


def dataset_name(file: str) -> str:
    """The name at which the Data API serves a CSV file: its stem, or that of a public data set that it replaces."""
    stem = re.sub(r"\.csv(\.gz)?$", "", file.lower())
    for start, name in PUBLISHED.items():
        if stem.startswith(start):
            return name
    return re.sub(r"[^a-z0-9_-]+", "_", stem)


def path_id(path: Path) -> str:
    """A short id of a path, which doesn't tell it."""
    return hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]


@contextmanager
def locked(path: Path, patience: float, what: str) -> Iterator[None]:
    """The block in this process alone. A process that is killed gives the lock back.

    path: the lock's file, which stays. what: the work, for the message. Raises `ServiceError` after `patience` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    deadline = time.monotonic() + patience
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServiceError(
                        f"another process has been {what} for over {patience:g} s; end it, then run again"
                    ) from None
                time.sleep(0.1)
        yield
