"""The prediction log: off the request path, onto a spool on disk, and from there into the database.

Entries wait in memory for at most a second, then stand in the spool; a second thread moves them into the tables
`predictions` and `feedback`. An entry carries its own id and is inserted with INSERT IGNORE, so sending it twice is
harmless and the spool is only deleted after the database has taken it. Each replica holds a lock on a subfolder of
its own; what a dead replica left behind is taken over at the next start.
"""

import fcntl
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import orjson
from sqlalchemy import Engine, insert
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from mlops_lab.data.tables import Feedback, Prediction
from mlops_lab.errors import LabError

logger = logging.getLogger("inference.log")

FLUSH_SECONDS = 0.5  # between two writes; at most this much is lost on SIGKILL
FLUSH_ENTRIES = 2000  # so many waiting entries are written sooner
SEGMENT_BYTES = 8 * 2**20
INSERT_ROWS = 500
MOST_WAITING = 200_000  # entries held in memory while the disk takes nothing
LONGEST_PAUSE = 30.0

_TABLES = {
    "predictions": (Prediction.__table__, ("predicted_at",)),
    "feedback": (Feedback.__table__, ("received_at",)),
}


class SpoolError(LabError):
    """The spool's folder can't be used."""


class PredictionLog:
    """One replica's log. `add` costs an append to a queue; any thread may call it."""

    def __init__(self, folder: Path, database: Engine, limit: int):
        """folder: of all replicas. limit: bytes on disk beyond which new entries are dropped, and counted."""
        self._database = database
        self._limit = limit
        self._waiting: deque[list[dict[str, Any]]] = deque()
        self._waiting_entries = 0
        self._writing, self._counting = threading.Lock(), threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._open: IO[bytes] | None = None
        self._open_rows = 0
        self._segments: dict[Path, tuple[int, int]] = {}  # closed ones: bytes, rows
        self._number = 0
        self._said: dict[str, float] = {}
        self.logged = self.dropped = 0
        self._folder, self._claim = _claim(folder)
        for path in sorted(self._folder.glob("*.jsonl")):
            self._segments[path] = (path.stat().st_size, _lines(path))
        if self._segments:
            logger.info(
                "%d entries of an earlier run are taken over",
                sum(rows for _, rows in self._segments.values()),
            )
        self._threads = [
            threading.Thread(target=self._write_on, name="spool-writer", daemon=True),
            threading.Thread(target=self._move_on, name="spool-mover", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def add(self, entries: list[dict[str, Any]]) -> None:
        """Takes entries: JSON types and dates, each with its `table` and `id`."""
        if self._waiting_entries >= MOST_WAITING:
            self._drop(len(entries), "the disk takes nothing")
            return
        with self._counting:
            self._waiting.append(entries)
            self._waiting_entries += len(entries)
        if self._waiting_entries >= FLUSH_ENTRIES:
            self._wake.set()

    def put(self, entry: dict[str, Any]) -> None:
        """Writes one entry to the spool before it returns. Raises `SpoolError` when it can't."""
        with self._writing:
            if self._full():
                raise SpoolError(
                    "the spool is full, since the database has been away for long; try again later"
                )
            try:
                self._write([entry])
            except OSError as error:
                raise SpoolError(f"the spool can't be written ({error.strerror}); try again later") from error

    def flush(self) -> None:
        """Writes what waits in memory to the spool. Raises `OSError` when the disk takes nothing."""
        with self._writing:
            while self._waiting:
                entries = self._waiting[0]
                if self._full():
                    self._drop(len(entries), "the spool is full")
                else:
                    self._write(entries)
                with self._counting:
                    self._waiting.popleft()
                    self._waiting_entries -= len(entries)

    def stop(self, seconds: float = 5.0) -> None:
        """Writes everything to the spool, and gives the database so many seconds to take it."""
        self._stopping.set()
        self._wake.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        try:
            self.flush()
        except OSError as error:
            logger.error("%d entries are lost, the disk takes nothing: %s", self._waiting_entries, error)
        with self._writing:
            self._close_segment()
        _, rows = self.spooled()
        if rows:
            logger.warning("%d entries stay in the spool until the next start", rows)
        os.close(self._claim)

    def spooled(self) -> tuple[int, int]:
        """(bytes, rows) on disk that the database doesn't have yet."""
        with self._writing:
            sizes = list(self._segments.values())
            return sum(s for s, _ in sizes) + self._open_bytes(), sum(r for _, r in sizes) + self._open_rows

    # The writer

    def _write_on(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            try:
                self.flush()
            except OSError as error:
                self._say(logging.ERROR, f"the spool can't be written ({error}); entries wait in memory")
                self._stopping.wait(1.0)

    def _write(self, entries: list[dict[str, Any]]) -> None:
        if self._open is None:
            self._number += 1
            path = self._folder / f"{time.time_ns():020d}-{os.getpid()}-{self._number}.jsonl.open"
            self._open, self._open_rows = path.open("ab", buffering=0), 0
        start = self._open_bytes()
        block = memoryview(b"".join(map(_line, entries)))
        try:
            while block:
                block = block[self._open.write(block) :]
        except OSError:
            self._open.truncate(start)  # half an entry would spoil the next one
            raise
        self._open_rows += len(entries)
        if self._open_bytes() >= SEGMENT_BYTES:
            self._close_segment()

    def _full(self) -> bool:
        return sum(size for size, _ in self._segments.values()) + self._open_bytes() > self._limit

    def _open_bytes(self) -> int:
        return self._open.tell() if self._open else 0

    def _close_segment(self) -> None:
        if self._open is None:
            return
        size, path = self._open_bytes(), Path(self._open.name)
        self._open.close()
        closed = path.with_suffix("")
        path.rename(closed)
        self._segments[closed] = (size, self._open_rows)
        self._open, self._open_rows = None, 0

    # The mover

    def _move_on(self) -> None:
        pause = 1.0
        while True:
            stopping = self._stopping.wait(pause)
            if stopping:
                self._threads[0].join()
                try:
                    self.flush()
                except OSError:
                    pass  # `stop` tries once more, and reports it
            try:
                while segment := self._oldest():
                    self._move(segment)
                pause = 1.0
            except SQLAlchemyError as error:
                pause = min(pause * 2, LONGEST_PAUSE)
                self._say(
                    logging.WARNING,
                    f"the database takes no predictions ({_first_line(error)}); they stay in the spool",
                )
            except Exception as error:  # the disk's, a driver's: this thread must outlive them all
                pause = min(pause * 2, LONGEST_PAUSE)
                self._say(logging.ERROR, f"the spool can't be moved ({type(error).__name__}: {error})")
            if stopping:
                return

    def _oldest(self) -> Path | None:
        """The segment to move next. The open one is closed only when there is no other."""
        with self._writing:
            if not self._segments:
                self._close_segment()
            return min(self._segments, default=None, key=lambda path: path.name)

    def _move(self, segment: Path) -> None:
        entries: dict[str, list[dict]] = {name: [] for name in _TABLES}
        broken = 0
        for line in segment.read_bytes().splitlines():
            try:
                entry = orjson.loads(line)
                table, times = _TABLES[entry.pop("table")]
                entry |= {name: datetime.fromisoformat(entry[name]) for name in times}
                entries[table.name].append(entry)
            except (ValueError, KeyError, TypeError, AttributeError):
                broken += 1  # a line that SIGKILL or a full disk cut short
        refused = 0
        for name, found in entries.items():
            for start in range(0, len(found), INSERT_ROWS):
                refused += self._insert(name, found[start : start + INSERT_ROWS])
        if broken:
            self._drop(broken, f"{broken} lines of {segment.name} are cut short")
        with self._writing:
            segment.unlink(missing_ok=True)
            _, rows = self._segments.pop(segment)
            self.logged += rows - broken - refused

    def _insert(self, name: str, rows: list[dict]) -> int:
        """Inserts rows; returns how many the database refused for good. Raises when it can't be reached."""
        try:
            self._send(name, rows)
            return 0
        except Exception as error:
            if not _refused(error):
                raise
        refused = 0
        for row in rows:
            try:
                self._send(name, [row])
            except Exception as error:
                if not _refused(error):
                    raise
                refused += 1
                with (self._folder / "refused").open("ab") as file:
                    file.write(_line({"table": name, **row}))
                self._drop(
                    1, f"the database refuses an entry, kept in the file `refused` ({_first_line(error)})"
                )
        return refused

    def _send(self, name: str, rows: list[dict]) -> None:
        statement = insert(_TABLES[name][0]).prefix_with("IGNORE", dialect="mysql")
        with self._database.begin() as db:
            db.execute(statement.prefix_with("OR IGNORE", dialect="sqlite"), rows)

    # Reports

    def _drop(self, entries: int, why: str) -> None:
        self.dropped += entries
        self._say(logging.ERROR, f"prediction log: {why}; {self.dropped} entries are not logged so far")

    def _say(self, level: int, message: str) -> None:
        """A line in the log, of each kind at most once a minute."""
        kind = message.partition("(")[0][:40]
        if time.monotonic() - self._said.get(kind, -60.0) >= 60.0:
            self._said[kind] = time.monotonic()
            logger.log(level, message)


def _claim(folder: Path) -> tuple[Path, int]:
    """A replica's subfolder and the lock on it; the segments of folders that nobody holds are moved into it."""
    mine: tuple[Path, int] | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = sorted(
            (p for p in folder.iterdir() if p.is_dir() and p.name.isdigit()), key=lambda p: int(p.name)
        )
        new = (folder / str(n) for n in range(len(there) + 1000))
        for path in [*there, *(p for p in new if p not in there)]:
            if mine and path not in there:
                break
            path.mkdir(exist_ok=True)
            claim = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(claim)
                continue
            # A segment that was open when its replica died is closed now.
            for left in path.glob("*.jsonl.open"):
                left.rename(left.with_suffix(""))
            if mine is None:
                mine = path, claim
                continue
            for left in path.glob("*.jsonl"):
                left.rename(mine[0] / left.name)
            os.close(claim)
    except OSError as error:
        raise SpoolError(
            f"the spool {folder} can't be used ({error.strerror}); set LAB_INFERENCE_SPOOL"
        ) from error
    if mine is None:
        raise SpoolError(f"every subfolder of the spool {folder} is held by another replica")
    return mine


def _line(entry: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # an integer of more than 64 bits
        return orjson.dumps(_narrow(entry), option=orjson.OPT_APPEND_NEWLINE, default=str)


def _narrow(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _narrow(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_narrow(item) for item in value]
    return float(value) if isinstance(value, int) and abs(value) >= 2**63 else value


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in _blocks(file))


def _blocks(file: IO[bytes]) -> Iterable[bytes]:
    while block := file.read(2**20):
        yield block


def _refused(error: Exception) -> bool:
    """Whether the entry is at fault (drivers raise errors of their own for values that they can't send).

    Else it is the database, and the entry is sent again.
    """
    return isinstance(error, DataError | IntegrityError | ValueError | TypeError | ArithmeticError) or (
        type(error) is StatementError
    )


def _first_line(error: Exception) -> str:
    return (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0][:200]
