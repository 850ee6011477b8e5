"""Reads the rows of a training by the use case's `HistoryPolicy`, and says what it left out.

Rows are counted and chosen by small columns, a group of rows of a snapshot at a time; only chosen rows become a frame.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from mlops_lab.data.snapshots import BATCH, Snapshots
from mlops_lab.errors import ModelError
from mlops_lab.formatting import counted
from mlops_lab.history import HistoryPolicy
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd

# Its functions are made when it is imported, so that a type checker knows none of them.
pc: Any = compute
# The digits of a group's hash by which groups are sampled. The first eight decide on the split, so others are taken:
# a sample has all splits in their shares.
DIGITS = slice(8, 13)
BUCKETS = 16 ** (DIGITS.stop - DIGITS.start)

# Batch → split → rows.
_Counts = dict[int, Counter[str]]


@dataclass(frozen=True)
class History:
    """The rows that a training reads. frame: as `Snapshots.read` gives them, the test rows among them.

    batches:  ids of all batches whose rows it could have read; unread: those of them of which it read none.
    left_out: by split, the number of stored rows that it didn't read.
    """

    frame: "pd.DataFrame" = field(repr=False)
    batches: list[int]
    unread: list[int]
    left_out: dict[str, int]

    @property
    def words(self) -> str:
        """What was left out in one line; empty when nothing was."""
        if not (out := sum(self.left_out.values())):
            return ""
        return f"{counted(len(self.frame), 'row')} of {len(self.frame) + out:,}"


def read_history(
    snapshots: Snapshots, use_case: UseCase, *, until: int | None = None, only: Collection[int] | None = None
) -> History:
    """until, only: the batches that there are, as in `Snapshots.read`.

    The same stored rows and the same policy give the same frame. Raises `ModelError` when a sample has room for no
    group.
    """
    policy = use_case.history
    if policy == HistoryPolicy():
        frame = snapshots.read(use_case, until=until, only=only)
        return History(frame, sorted(int(number) for number in frame[BATCH].unique()), [], {})
    counts = _counts(snapshots, use_case, until, only)
    batches = sorted(counts)
    chosen = batches if policy.batches is None else batches[-policy.batches :]
    keep = None
    if policy.rows is not None and sum(counts[number].total() for number in chosen) > policy.rows:
        if policy.choose == "newest":
            chosen = _newest(counts, chosen, policy.rows)
        else:
            unread = [number for number in batches if number not in chosen]
            keep = _sample(snapshots, use_case, until, only, unread, policy.rows)
    unread = [number for number in batches if number not in chosen]
    frame = snapshots.read(use_case, until=until, only=only, without=unread, keep=keep)
    if policy.rows is not None:
        frame = frame.iloc[-policy.rows :].reset_index(drop=True)
    read = Counter[str](frame["split"].value_counts().to_dict())
    left_out = sum(counts.values(), Counter[str]()) - read
    return History(frame, batches, unread, dict(left_out))


def _counts(
    snapshots: Snapshots, use_case: UseCase, until: int | None, only: Collection[int] | None
) -> _Counts:
    """How many rows each batch has in each split; without batches that have none."""
    counts: _Counts = {}
    for part in snapshots.parts(use_case, until=until, only=only, columns=[BATCH, "split"]):
        for batch, splits in part.to_pandas().groupby(BATCH)["split"]:
            counts.setdefault(int(batch), Counter()).update(splits.value_counts().to_dict())
    return counts


def _newest(counts: _Counts, batches: list[int], rows: int) -> list[int]:
    """The newest of the batches that have so many rows together, or more."""
    needed: list[int] = []
    while batches and sum(counts[number].total() for number in needed) < rows:
        *batches, newest = batches
        needed.insert(0, newest)
    return needed


def _sample(
    snapshots: Snapshots,
    use_case: UseCase,
    until: int | None,
    only: Collection[int] | None,
    unread: Collection[int],
    rows: int,
) -> Callable[[pa.Table], pa.Array]:
    """Which rows of a table are in the sample: those of the groups with the least hashes, at most so many rows."""
    found = np.zeros(BUCKETS, dtype=np.int64)
    for part in snapshots.parts(use_case, until=until, only=only, without=unread, columns=["group_hash"]):
        places = [int(text, 16) for text in _digits(part).to_pylist()]
        found += np.bincount(places, minlength=BUCKETS)
    # Buckets below this one have at most so many rows together.
    limit = int(np.searchsorted(found.cumsum(), rows, side="right"))
    if not found[:limit].any():
        raise ModelError(
            f"{use_case.name}: a sample of {counted(rows, 'row')} has no room for a whole group; allow more rows in "
            "`history`"
        )
    below = f"{limit:0{DIGITS.stop - DIGITS.start}x}"
    return lambda part: pc.less(_digits(part), below) if limit < BUCKETS else pc.is_valid(part["group_hash"])


def _digits(part: pa.Table) -> Any:
    return pc.utf8_slice_codeunits(part["group_hash"], DIGITS.start, DIGITS.stop)
