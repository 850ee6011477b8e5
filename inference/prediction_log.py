"""The prediction log: the way of its entries from the request into the database.

A request only appends lines to a queue in memory. One thread writes the queue to the spool on disk, at least twice a
second; a second one moves the spool into the tables of the log. An entry carries its own id and is inserted with INSERT
IGNORE, so sending it twice is harmless, and a segment of the spool is deleted only after the
database has taken it.
"""

import logging
import threading
import time
from collections import deque
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from inference.log_entries import Entry, parse, store
from inference.spool import Spool, SpoolError, lines
from mlops_lab.errors import first_line

logger = logging.getLogger("inference.log")

# Seconds between two writes to the spool. SIGKILL can lose the entries of this time.
FLUSH_SECONDS = 0.5
# With this many bytes in memory, the write starts earlier.
FLUSH_BYTES = 2 * 2**20
# Bytes held in memory while the disk can't be written; further entries are dropped.
MAX_WAITING = 64 * 2**20
# Bytes of lines that are inserted at once: each commit costs as much as a hundred rows.
INSERT_BYTES = 2 * 2**20
# Seconds between two tries of a database that doesn't answer.
MAX_PAUSE = 30.0


class PredictionLog:
    """One replica's log. `add` costs an append to a queue; any thread may call it."""

    def __init__(self, folder: Path, database: Engine, limit: int):
        """folder: the spool of all replicas. limit: its bytes on disk beyond which entries are dropped and counted.

        Raises `SpoolError` when the folder can't be used.
        """
        self._database = database
        self._spool = Spool(folder, limit)
        # Blocks of lines, and the number of their entries. Lines take a fifth of the memory of the entries.
        self._waiting: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = 0
        self._counting, self._flushing = threading.Lock(), threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._reported_at: dict[str, float] = {}
        self.logged = self.dropped = 0
        if rows := self.spooled()[1]:
            logger.info("%d entries of an earlier run are taken over", rows)
        self._writer = threading.Thread(target=self._write, name="spool-writer", daemon=True)
        self._mover = threading.Thread(target=self._move, name="spool-mover", daemon=True)

    def start(self) -> None:
        self._writer.start()
        self._mover.start()

    def add(self, block: bytes, entries: int) -> None:
        """Queues the lines of so many entries."""
        if self._waiting_bytes >= MAX_WAITING:
            self._drop(entries, "the disk can't be written")
            return
        with self._counting:
            self._waiting.append((block, entries))
            self._waiting_bytes += len(block)
        if self._waiting_bytes >= FLUSH_BYTES:
            self._wake.set()

    def put(self, entry: Entry) -> None:
        """Writes one entry to the spool before it returns. Raises `SpoolError` when it can't."""
        try:
            self._spool.append(lines([entry]), 1)
        except SpoolError as error:
            raise SpoolError(
                "the spool is full, because the database doesn't answer; try again later"
            ) from error
        except OSError as error:
            raise SpoolError(f"the spool can't be written ({error.strerror}); try again later") from error

    def flush(self) -> None:
        """Writes the entries in memory to the spool. Raises `OSError` when the disk can't be written."""
        with self._flushing:
            while self._waiting:
                block, entries = self._waiting[0]
                try:
                    self._spool.append(block, entries)
                except SpoolError as error:
                    self._drop(entries, str(error))
                with self._counting:
                    self._waiting.popleft()
                    self._waiting_bytes -= len(block)

    def stop(self, seconds: float = 5.0) -> None:
        """Writes everything to the spool, and gives the database `seconds` to take it."""
        self._stopping.set()
        self._wake.set()
        deadline = time.monotonic() + seconds
        for thread in (self._writer, self._mover):
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        try:
            self.flush()
        except OSError as error:
            lost = sum(entries for _, entries in self._waiting)
            logger.error("%d entries are lost, the disk can't be written: %s", lost, error)
        if rows := self.spooled()[1]:
            logger.warning("%d entries stay in the spool until the next start", rows)
        self._spool.close()

    def spooled(self) -> tuple[int, int]:
        """(bytes, rows) on disk that the database doesn't have yet."""
        return self._spool.size()

    def _write(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(FLUSH_SECONDS)
            self._wake.clear()
            try:
                self.flush()
            except OSError as error:
                self._report(logging.ERROR, f"the spool can't be written ({error}); entries wait in memory")
                self._stopping.wait(1.0)

    def _move(self) -> None:
        pause = 1.0
        while True:
            stopping = self._stopping.wait(pause)
            if stopping:
                self._writer.join()
                try:
                    self.flush()
                except OSError:
                    # `stop` tries once more, and reports it.
                    pass
            try:
                while segment := self._spool.oldest():
                    self._move_segment(segment)
                pause = 1.0
            except SQLAlchemyError as error:
                pause = min(pause * 2, MAX_PAUSE)
                cause = first_line(error)
                self._report(
                    logging.WARNING, f"the database can't store predictions ({cause}); they stay in the spool"
                )
            except Exception as error:
                # An error of the disk or of a driver must not end this thread.
                pause = min(pause * 2, MAX_PAUSE)
                self._report(
                    logging.ERROR, f"the spool can't be moved ({first_line(error, with_class=True)})"
                )
            if stopping:
                return

    def _move_segment(self, segment: Path) -> None:
        broken = taken = 0
        with segment.open("rb") as file:
            while chunk := file.readlines(INSERT_BYTES):
                entries = [entry for line in chunk if (entry := parse(line))]
                broken += len(chunk) - len(entries)
                taken += self._insert(entries)
        if broken:
            self._drop(broken, f"{broken} lines of {segment.name} are cut short")
        self._spool.remove(segment)
        self.logged += taken

    def _insert(self, entries: list[Entry]) -> int:
        """Inserts entries; returns how many the database accepted. The others are at fault. Raises when it is down."""
        try:
            self._send(entries)
        except Exception as error:
            if not _is_refusal(error):
                raise
            if len(entries) > 1:
                half = len(entries) // 2
                return self._insert(entries[:half]) + self._insert(entries[half:])
            kept = self._spool.keep_refused(entries[0])
            where = "kept in the file `refused`" if kept else "and the file `refused` is full"
            self._drop(1, f"the database refuses an entry, {where} ({first_line(error)})")
            return 0
        return len(entries)

    def _send(self, entries: list[Entry]) -> None:
        with self._database.begin() as db:
            store(db, entries)

    def _drop(self, entries: int, why: str) -> None:
        self.dropped += entries
        self._report(logging.ERROR, f"prediction log: {why}; {self.dropped} entries are not logged so far")

    def _report(self, level: int, message: str) -> None:
        """A line in the log, of each kind at most once a minute."""
        kind = message.partition("(")[0][:40]
        if time.monotonic() - self._reported_at.get(kind, -60.0) >= 60.0:
            self._reported_at[kind] = time.monotonic()
            logger.log(level, message)


def _is_refusal(error: Exception) -> bool:
    """Whether the entry is at fault, so that sending it again is useless; else the database is.

    Drivers raise errors of their own for values that they can't send.
    """
    return isinstance(error, DataError | IntegrityError | ValueError | TypeError | ArithmeticError) or (
        type(error) is StatementError
    )
