"""A use case against the rows of its data set: what would go to quarantine, by column and rule, without training."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pandas as pd

from mlops_lab.data.payload import RawBatch
from mlops_lab.data.prepare import prepare
from mlops_lab.data.source import SourceError
from mlops_lab.data.split import with_split
from mlops_lab.data.validate import Broken, by_rule, validate
from mlops_lab.errors import LabError, first_line
from mlops_lab.use_case import UseCase

# Rows that are checked at once.
CHUNK = 50_000


@dataclass
class DataCheck:
    """rows: in the data set. quarantined: rows that break a rule. dropped: rows without target, or that `clean` drops.

    splits: clean rows by split. broken: the broken rules, the most frequent first.
    """

    rows: int = 0
    quarantined: int = 0
    dropped: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def add(self, use_case: UseCase, frame: pd.DataFrame) -> None:
        """Counts rows: texts as they arrive, "" where there is no value. Raises `LabError` when a column is missing."""
        if absent := [column.name for column in use_case.columns if column.name not in frame]:
            raise LabError(
                f"the data set of {use_case.name} has no column {', '.join(absent)}; "
                f"it has {', '.join(map(str, frame.columns))}"
            )
        rows: list[dict[Any, Any]] = frame[[column.name for column in use_case.columns]].to_dict("records")
        checked = validate(RawBatch(None, rows, list(range(len(rows))), [], []), use_case)
        prepared = prepare(use_case, with_split(use_case, checked.typed))
        self.rows += len(rows)
        self.quarantined += len({problem.row for problem in checked.problems})
        self.dropped += prepared.dropped
        for split, count in prepared.frame["split"].value_counts().items():
            part = "split by day" if use_case.split_day else str(split)
            self.splits[part] = self.splits.get(part, 0) + int(count)
        self.broken = by_rule(checked.problems, self.broken)


def check_data(use_case: UseCase, data_api: str) -> DataCheck:
    """Reads the whole data set from the lab's own Data API; no position of it changes.

    data_api: its address, with `{dataset}`. Raises `SourceError` when it can't be reached, and `LabError` when it has
    no such data set.
    """
    found = DataCheck()
    for frame in _frames(data_api.replace("{dataset}", use_case.dataset).rstrip("/") + "/data.csv"):
        found.add(use_case, frame)
    return found


def _frames(url: str) -> Iterator[pd.DataFrame]:
    try:
        with httpx.stream("GET", url, timeout=300) as reply:
            if reply.status_code != 200:
                reply.read()
                raise LabError(f"the Data API can't send {url}: {_detail(reply)}")
            lines: Any = _Lines(
                reply.iter_text()
            )  # a file as pandas needs it, without a file's other methods
            yield from pd.read_csv(lines, dtype=str, keep_default_na=False, chunksize=CHUNK)
    except httpx.HTTPError as error:
        raise SourceError(f"the Data API at {url} can't be reached ({first_line(error)})") from error


def _detail(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {reply.status_code}; only the lab's own Data API sends whole files"


class _Lines:
    """A stream of texts as the file that pandas reads."""

    def __init__(self, texts: Iterator[str]) -> None:
        self._texts = texts

    def read(self, size: int = -1) -> str:
        return next(self._texts, "")

    def __iter__(self) -> Iterator[str]:
        return self._texts
