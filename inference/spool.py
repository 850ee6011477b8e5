"""Files on disk that hold log entries until the database has taken them.

Each replica writes to a subfolder of its own, which it holds by a file lock. At its start it also moves the segments
of subfolders without a lock, that is of replicas that have ended, into its own.
"""

import fcntl
import itertools
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from mlops_lab.errors import LabError

SEGMENT_BYTES = 8 * 2**20
# The file `refused` may take this part of the spool's limit.
REFUSED_SHARE = 0.1
MAX_REPLICAS = 1000
_ENCODER = msgspec.json.Encoder()


class SpoolError(LabError):
    """The spool's folder can't be used, or the spool is full."""


class Spool:
    """One replica's segments: files of JSON lines, the oldest is moved first. Threads may share it."""

    def __init__(self, folder: Path, limit: int):
        """folder: of all replicas. limit: bytes on disk beyond which `append` refuses entries.

        Raises `SpoolError` when the folder can't be used.
        """
        self._limit = limit
        self._lock = threading.RLock()
        self._open: IO[bytes] | None = None
        self._numbers = itertools.count(1)
        self._folder, self._claim = _claim(folder)
        self._refused = self._folder / "refused"
        self._refused_bytes = self._refused.stat().st_size if self._refused.exists() else 0
        # Bytes and rows of every segment, the open one included.
        self._segments = {path: (path.stat().st_size, _rows(path)) for path in _segments(self._folder)}

    def size(self) -> tuple[int, int]:
        """(bytes, rows) on disk that the database may still take."""
        with self._lock:
            sizes = self._segments.values()
            return sum(size for size, _ in sizes), sum(rows for _, rows in sizes)

    def append(self, block: bytes, entries: int) -> None:
        """Writes the lines of so many entries.

        Raises `SpoolError` when the spool is full, `OSError` when the disk can't be written.
        """
        with self._lock:
            if self.size()[0] + self._refused_bytes > self._limit:
                raise SpoolError("the spool is full")
            if self._open is None:
                # The names sort by time. With buffering, the number of written bytes would be unknown.
                name = f"{time.time_ns():020d}-{os.getpid()}-{next(self._numbers)}.jsonl"
                self._open = (self._folder / name).open("ab", buffering=0)
            path = Path(self._open.name)
            size, rows = self._segments.get(path, (0, 0))
            rest = memoryview(block)
            try:
                while rest:
                    rest = rest[self._open.write(rest) :]
            except OSError:
                # Half an entry would damage the next one.
                self._open.truncate(size)
                raise
            self._segments[path] = (self._open.tell(), rows + entries)
            if self._open.tell() >= SEGMENT_BYTES:
                self._close_segment()

    def oldest(self) -> Path | None:
        """The segment to move next; nothing is appended to it any more. None when the spool is empty."""
        with self._lock:
            path = min(self._segments, default=None, key=lambda path: path.name)
            if self._open and path == Path(self._open.name):
                self._close_segment()
            return path

    def remove(self, segment: Path) -> int:
        """Deletes a segment and returns its number of rows."""
        with self._lock:
            segment.unlink(missing_ok=True)
            return self._segments.pop(segment)[1]

    def keep_refused(self, entry: msgspec.Struct) -> bool:
        """Appends an entry that the database can never accept to the file `refused`, for inspection by hand.

        Returns False, and keeps nothing, when that file is full.
        """
        line = lines([entry])
        with self._lock:
            if self._refused_bytes + len(line) > REFUSED_SHARE * self._limit:
                return False
            with self._refused.open("ab") as file:
                file.write(line)
            self._refused_bytes += len(line)
        return True

    def close(self) -> None:
        """Releases the subfolder's lock; the next start takes over its segments."""
        with self._lock:
            self._close_segment()
        os.close(self._claim)

    def _close_segment(self) -> None:
        if self._open:
            self._open.close()
            self._open = None


def lines(entries: Sequence[msgspec.Struct]) -> bytes:
    """The entries as lines of JSON."""
    return _ENCODER.encode_lines(entries)


def _claim(folder: Path) -> tuple[Path, int]:
    """A subfolder for this replica, and its lock. Segments of subfolders without a lock are moved there."""
    try:
        mine = _first_free(folder)
        if mine is None:
            raise SpoolError(f"every subfolder of the spool {folder} is locked by another replica")
        others = [path for path in folder.iterdir() if path.name.isdigit() and path != mine[0]]
        for other in others:
            if (lock := _try_lock(other)) is not None:
                for segment in _segments(other):
                    segment.rename(mine[0] / segment.name)
                os.close(lock)
    except OSError as error:
        raise SpoolError(
            f"the spool {folder} can't be used ({error.strerror}); set LAB_INFERENCE_SPOOL"
        ) from error
    return mine


def _first_free(folder: Path) -> tuple[Path, int] | None:
    for number in range(MAX_REPLICAS):
        path = folder / str(number)
        path.mkdir(parents=True, exist_ok=True)
        if (lock := _try_lock(path)) is not None:
            return path, lock
    return None


def _try_lock(folder: Path) -> int | None:
    """A file descriptor that holds the folder's lock until it is closed; None when another process holds it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _segments(folder: Path) -> list[Path]:
    # `.jsonl.open` is how earlier versions named the segment that they were writing.
    return [path for path in folder.iterdir() if path.name.endswith((".jsonl", ".jsonl.open"))]


def _rows(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
