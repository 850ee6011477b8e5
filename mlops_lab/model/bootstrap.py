"""The bootstrap by groups: how far a score could differ by chance, when rows of one group belong together."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

RESAMPLES = 200


def resample(
    groups: Sequence[Any] | np.ndarray, statistic: Callable[[np.ndarray], float], times: int = RESAMPLES
) -> np.ndarray:
    """The statistic on that many resamples of the rows, float (m,); resamples without a finite one are left out.

    groups:    the group of each row, (n,). Rows of one group (a patient, a property) are drawn together.
    statistic: row indices, int (k,), with repeats, to a number.
    """
    results = np.array([statistic(picked) for picked in drawn(groups, times)], dtype=np.float64)
    return results[np.isfinite(results)]


def drawn(groups: Sequence[Any] | np.ndarray, times: int = RESAMPLES) -> Iterator[np.ndarray]:
    """The row indices of each resample, int (k,), with repeats; none without rows.

    Groups are drawn with replacement, whole (Davison and Hinkley, Bootstrap methods and their application, 1997,
    section 3.8): the rows of a group resemble each other, so drawn one by one they would give an interval that is too
    narrow. The same rows give the same resamples. `scipy.stats.bootstrap` could draw the groups, but not collect their
    rows, so it would replace one line here.
    """
    found, group = np.unique(np.asarray(groups), return_inverse=True)
    rows = np.arange(len(group))
    random = np.random.default_rng(0)
    for _ in range(times if len(rows) else 0):
        chosen = random.integers(0, len(found), len(found))
        counts = np.bincount(chosen, minlength=len(found))
        yield np.repeat(rows, counts[group])
