"""The position of each group in a data set, stored in a file so that a restart of the service keeps it."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TypedDict

from mlops_lab.errors import LabError
from mlops_lab.files import write_whole


class PositionsError(LabError):
    """The file of positions can't be read or written; the text says what to do."""


@dataclass
class Turn:
    """The batch for one call, or None at the end of the data.

    skip: its rows that were served before; not 0 only when rows were appended after a short last batch.
    """

    number: int | None
    skip: int = 0


class Position(TypedDict):
    """The last batch that was served, and when, in seconds since 1970.

    first, after: its rows, counted from the first batch's first row: from `first` up to, but without, `after`. None in
    a file of an earlier version. key: the key of the request that it was served to.
    """

    batch: int
    since: float
    first: int | None
    after: int | None
    key: str


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
        self,
        dataset: str,
        group: int,
        day: str | None,
        sizes: Sequence[int],
        interval: float = 0,
        request: str = "",
    ) -> Iterator[Turn]:
        """The next batch of this group; the last one again while its interval is not over, or to the same request.

        sizes: rows of each batch now. interval: seconds. request: a key by which a caller whose reply was lost asks
        again.

        The position moves when the block ends without an error, so a batch that can't be read isn't lost. Two
        calls at once get two batches.
        """
        key = _key(dataset, group, day)
        with self._lock:
            lock = self._turns[key]
        with lock:
            at = self._at.get(key)
            young = at is not None and interval > 0 and self._clock() - at["since"] < interval
            again = at is not None and (young or (request != "" and at["key"] == request))
            first = 0
            if at is not None:
                before = sum(sizes[: at["batch"] - 1]) if at["first"] is None else at["first"]
                behind = sum(sizes[: at["batch"]]) if at["after"] is None else at["after"]
                first = before if again else behind
            # The position counts rows, not batches: rows that are appended to a file are the next ones.
            ends = list(accumulate(sizes))
            number = next((place for place, end in enumerate(ends, 1) if first < end), None)
            if number is None:
                yield Turn(None)
                return
            yield Turn(number, first - (ends[number - 1] - sizes[number - 1]))
            since = at["since"] if at is not None and again else self._clock()
            self._store(
                {key: Position(batch=number, since=since, first=first, after=ends[number - 1], key=request)}
            )

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
            key: Position(
                batch=int(at["batch"]),
                since=float(at["since"]),
                first=at.get("first"),
                after=at.get("after"),
                key=at.get("key", ""),
            )
            for key, at in positions.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PositionsError(
            f"{path} has no valid positions ({error}); remove it to start again with the first batches"
        ) from error


def _write(path: Path, positions: dict[str, Position]) -> None:
    try:
        write_whole(path, json.dumps({"positions": positions}, indent=1))
    except OSError as error:
        raise PositionsError(
            f"positions can't be written to {path}: {error.strerror}; free space or change LAB_DATOS_STATE"
        ) from error
