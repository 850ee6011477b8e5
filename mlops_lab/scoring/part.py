"""The unfinished result of a scoring, in a folder beside the file that it becomes. A killed run goes on from it.

The folder has the predictions so far, the refused rows so far, and a record of how far they are. A file may have more
than the record says: what a kill left behind the last recorded chunk is cut off.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlops_lab.errors import ServiceError
from mlops_lab.files import write_whole

PREDICTIONS, REFUSED, RECORD = "predictions", "refused.csv", "progress.json"
FILES = (PREDICTIONS, REFUSED)


@dataclass(frozen=True)
class Record:
    """How far a scoring is.

    key:      what it scores with what; the progress counts only for the same.
    rows:     rows of the input that are done; refused: those of them that were refused.
    sizes:    bytes of each file in the folder; digests: sha256 of these bytes.
    whole:    whether the input's last row is done.
    """

    key: dict[str, Any]
    rows: int = 0
    refused: int = 0
    sizes: tuple[int, ...] = (0, 0)
    digests: tuple[str, ...] = ("", "")
    whole: bool = False


class Part:
    """The folder `<target>.part`, held by this process."""

    def __init__(self, folder: Path, record: Record):
        """record: that of a new scoring, until `resume` finds an earlier one."""
        self._folder, self.record = folder, record
        self._checksums = [hashlib.sha256() for _ in FILES]

    def resume(self) -> str:
        """Continues the progress in the folder, or begins anew.

        Returns why an earlier progress doesn't count, or "" when it does or there is none.
        """
        if not (self._folder / RECORD).exists():
            self._begin()
            return ""
        try:
            content = json.loads((self._folder / RECORD).read_text(encoding="utf-8"))
            found = Record(
                **content | {"sizes": tuple(content["sizes"]), "digests": tuple(content["digests"])}
            )
            why = next((name for name, value in self.record.key.items() if found.key.get(name) != value), "")
            if not why:
                self._continue(found)
                return ""
            why = f"the {why} is another one than when it was begun"
        except (ValueError, TypeError, KeyError, FileNotFoundError):
            why = "its record is damaged"
        self._begin()
        return why

    def add(self, predictions: bytes, refused: bytes, rows: int, refused_rows: int) -> None:
        """Stores the result of the next rows, on disk. Raises `OSError`; then the record is as it was."""
        sizes = []
        for name, content, checksum, size in self._files(predictions, refused):
            path = self._folder / name
            if content:
                with _named(path), path.open("r+b") as file:
                    # What an `add` that failed left behind the recorded bytes.
                    file.truncate(size)
                    file.seek(size)
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            checksum.update(content)
            sizes.append(size + len(content))
        self._put(
            replace(
                self.record,
                rows=self.record.rows + rows,
                refused=self.record.refused + refused_rows,
                sizes=tuple(sizes),
                digests=tuple(checksum.hexdigest() for checksum in self._checksums),
            )
        )

    def close(self) -> None:
        """Records that the input's last row is done."""
        self._put(replace(self.record, whole=True))

    def path(self, name: str) -> Path:
        """One of `FILES`."""
        return self._folder / name

    def remove(self) -> None:
        """Removes the folder, which isn't needed any more."""
        # The record first: a folder without it begins anew.
        (self._folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _files(self, *contents: bytes) -> Iterator[tuple[str, bytes, Any, int]]:
        return zip(FILES, contents, self._checksums, self.record.sizes, strict=True)

    def _begin(self) -> None:
        (self._folder / RECORD).unlink(missing_ok=True)
        for name in FILES:
            (self._folder / name).write_bytes(b"")

    def _continue(self, found: Record) -> None:
        """Raises `ValueError` when a file has less or other bytes than the record says."""
        checksums = []
        for name, size, digest in zip(FILES, found.sizes, found.digests, strict=True):
            checksum = hashlib.sha256()
            with (self._folder / name).open("r+b") as file:
                left = size
                while left and (block := file.read(min(left, 1 << 20))):
                    checksum.update(block)
                    left -= len(block)
                if left or (found.rows and checksum.hexdigest() != digest):
                    raise ValueError(name)
                file.truncate(size)
            checksums.append(checksum)
        self._checksums, self.record = checksums, found

    def _put(self, record: Record) -> None:
        path = self._folder / RECORD
        with _named(path):
            write_whole(path, json.dumps(asdict(record)))
        self.record = record


@contextmanager
def held(folder: Path, key: dict[str, Any]) -> Iterator[Part]:
    """The folder, made and for this process alone. Raises `ServiceError` when another process holds it."""
    holder = _hold(folder)
    try:
        yield Part(folder, Record(key))
    finally:
        os.close(holder)


def _hold(folder: Path) -> int:
    """The open folder, locked."""
    while True:
        with _named(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            holder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(holder)
            raise ServiceError(
                f"another process writes into {folder}; wait for its end, or name another file by --out"
            ) from None
        # The process that held it before may have removed it.
        if folder.exists() and os.path.samestat(os.fstat(holder), folder.stat()):
            return holder
        os.close(holder)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of the disk in the block names the path; a full disk has none of its own."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
