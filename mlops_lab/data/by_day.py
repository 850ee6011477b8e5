"""The split by day: the newest rows test, those before them validate, and the older ones train.

docs/decisions.md has the rule. Nothing is stored: the days at which the parts begin follow from the rows of the batches
that are read, so the rows of an earlier training can be told again.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from mlops_lab.data.split import SEALED, SHARES

# Its functions are made when it is imported, so that a type checker knows none of them.
pc: Any = compute
_SHARE = dict(SHARES)
# The share of the newest rows that test or are sealed, and that of these with the ones that validate.
_TEST = _SHARE["test"] + _SHARE[SEALED]
_UNSEEN = _TEST + _SHARE["validation"]
# Groups with a lower hash are sealed, if their rows are new enough. Hashes have lower-case hexadecimal digits.
_SEALED_BELOW = f"{int(_SHARE[SEALED] / _TEST * 2**32):08x}"


@dataclass(frozen=True)
class Days:
    """The first day of the rows that validate, and of those that test."""

    validation: date
    test: date


def days(counts: Collection[tuple[int, date, int]]) -> Days | None:
    """The days at which the parts begin; None without a row.

    counts: (batch, day, number of rows). A day's rows stay together, so each part has at least its share. The days
    never move back: where a later batch brings older rows, what a model has learnt from would become test rows.
    """
    if not counts:
        return None
    known = sorted({day for _, day, _ in counts})
    place, rows = {day: at for at, day in enumerate(known)}, np.zeros(len(known), dtype=np.int64)
    validation = test = 0
    for _, of_batch in groupby(sorted(counts), key=itemgetter(0)):
        for _, day, count in of_batch:
            rows[place[day]] += count
        # newest[i]: the rows of day i and of all later ones.
        newest = rows[::-1].cumsum()[::-1]
        test = max(test, int(np.flatnonzero(newest >= _TEST * newest[0])[-1]))
        validation = max(validation, int(np.flatnonzero(newest >= _UNSEEN * newest[0])[-1]))
    return Days(known[validation], known[test])


def splits(day: pa.ChunkedArray, group_hash: pa.ChunkedArray, found: Days | None) -> pa.ChunkedArray:
    """The split of each row, as text. A row without a day trains, and each does when no row has one (None)."""
    if found is None:
        return pa.chunked_array([pa.repeat("train", len(day))], pa.string())
    newest = pc.if_else(pc.less(group_hash, _SEALED_BELOW), SEALED, "test")
    tests = pc.fill_null(pc.greater_equal(day, pa.scalar(found.test)), False)
    validates = pc.fill_null(pc.greater_equal(day, pa.scalar(found.validation)), False)
    return pc.if_else(tests, newest, pc.if_else(validates, "validation", "train"))
