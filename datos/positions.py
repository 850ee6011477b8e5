"""The position of each group in a data set, stored in a file so that a restart of the service keeps it."""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from mlops_lab.errors import LabError


class PositionsError(LabError):
    """The file of positions can't be read or written; the text says what to do."""


@dataclass
class Turn:
    """The batch for one call, or None at the end of the data."""

    number: int | None


class Position(TypedDict):
    """The last batch that was served, and when, in seconds since 1970."""

    batch: int
    since: float


class Positions:
    """Positions by data set, group and (object variant) day.

    path: the file; None keeps the positions in memory only. Raises PositionsError for a file of another kind.
    """

    def __init__(self, path: Path | None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._turns: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._lock = threading.Lock()
        self._at: dict[str, Position] = _read(path)

    @contextmanager
    def turn(
        self, dataset: str, group: int, day: str | None, batches: int, interval: float
    ) -> Iterator[Turn]:
        """The next batch of this group, or the last one again while its `interval` (seconds) is not over.

        The position moves when the block ends without an error, so a batch that can't be read isn't lost. Two
        calls at once get two batches.
        """
        key = _key(dataset, group, day)
        with self._lock:
            lock = self._turns[key]
        with lock:
            at = self._at.get(key, Position(batch=0, since=0.0))
            repeats = at["batch"] > 0 and interval > 0 and self._clock() - at["since"] < interval
            number = at["batch"] if repeats else at["batch"] + 1
            yield Turn(number if number <= batches else None)
            if not repeats and number <= batches:
                self._store({key: Position(batch=number, since=self._clock())})

    def restart(self, dataset: str, group: int, day: str | None) -> None:
        """Back to the first batch: for this day, or without a day for everything of the group."""
        key = _key(dataset, group, day)
        with self._lock:
            gone = [name for name in self._at if name == key or (day is None and name.startswith(f"{key}/"))]
        self._store(dict.fromkeys(gone))

    def all(self) -> dict[str, int]:
        """Batches served so far by `dataset/group` or `dataset/group/day`."""
        with self._lock:
            return {key: at["batch"] for key, at in self._at.items()}

    def _store(self, changes: Mapping[str, Position | None]) -> None:
        with self._lock:
            at = {key: value for key, value in {**self._at, **changes}.items() if value is not None}
            if self._path is not None:
                _write(self._path, at)
            self._at = at


def _key(dataset: str, group: int, day: str | None) -> str:
    return f"{dataset}/{group}" if day is None else f"{dataset}/{group}/{day}"


def _read(path: Path | None) -> dict[str, Position]:
    if path is None or not path.exists():
        return {}
    try:
        positions = json.loads(path.read_text())["positions"]
        return {
            key: Position(batch=int(at["batch"]), since=float(at["since"])) for key, at in positions.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PositionsError(
            f"{path} has no valid positions ({error}); remove it to start again with the first batches"
        ) from error


def _write(path: Path, positions: dict[str, Position]) -> None:
    # Written to another file and renamed: a kill in the middle leaves the old positions.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w") as file:
            json.dump({"positions": positions}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise PositionsError(
            f"positions can't be written to {path}: {error.strerror}; free space or change LAB_DATOS_STATE"
        ) from error
