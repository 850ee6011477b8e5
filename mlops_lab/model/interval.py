"""Prediction intervals of regression, by split conformal prediction: fitted, computed, and measured on other rows.

The rule with its sources: docs/decisions.md.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_lab.contract import LEVEL, Contract, Interval
from mlops_lab.features import Number

# The service imports this module, and has no pandas.
if TYPE_CHECKING:
    import pandas as pd

# Bands of the prediction that have a radius of their own; each needs so many groups, or there are fewer bands.
MAX_BANDS = 5
MIN_GROUPS = 100


def fit_interval(
    log: bool, truth: np.ndarray, output: np.ndarray, groups: np.ndarray, level: float = LEVEL
) -> Interval | None:
    """The interval that covers the share `level` of rows that the model didn't learn from; None with too few groups.

    log: the model learns log(1 + target), so errors are measured there. truth, output: float (n,) in the target's
    unit. groups: the group of each row, (n,).
    """
    errors = np.abs(scaled(log, truth) - scaled(log, output))
    for bands in range(MAX_BANDS, 0, -1):
        edges = np.unique(np.quantile(output, np.linspace(0, 1, bands + 1)[1:-1]))
        band = np.searchsorted(edges, output)
        sizes = [len(np.unique(groups[band == number])) for number in range(len(edges) + 1)]
        if bands > 1 and min(sizes) < MIN_GROUPS:
            continue
        radii = [_quantile(errors[band == number], size, level) for number, size in enumerate(sizes)]
        if any(math.isinf(radius) for radius in radii):
            return None
        return Interval(
            level=level,
            log=log,
            edges=edges.tolist(),
            radii=radii,
            rows=len(errors),
            groups=len(np.unique(groups)),
        )
    return None


def limits(contract: Contract, values: Any) -> np.ndarray | None:
    """Lower and upper limits of predictions, float64 (n, 2), in the target's unit; None when the model has none.

    values: predictions in the target's unit, (n,). The limits stay in the range of the target.
    """
    if (interval := contract.interval) is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    radius = np.array(interval.radii)[np.searchsorted(interval.edges, values)]
    middle = scaled(interval.log, values)
    found = np.stack([middle - radius, middle + radius], axis=1)
    if interval.log:
        found = np.maximum(np.expm1(found), 0.0)
    target = contract.target
    low, high = (target.minimum, target.maximum) if isinstance(target, Number) else (None, None)
    return found if low is None and high is None else np.clip(found, low, high)


def coverage(contract: Contract, truth: np.ndarray, output: np.ndarray) -> dict[str, float]:
    """How the intervals did on rows: the share of the true values inside, and the median width in the target's unit.

    Empty when the model has no intervals, and without rows.
    """
    found = limits(contract, output)
    if found is None or not len(truth):
        return {}
    inside = (found[:, 0] <= truth) & (truth <= found[:, 1])
    width = np.median(found[:, 1] - found[:, 0])
    return {"interval_coverage": float(inside.mean()), "interval_width": float(width)}


def groups_of(frame: "pd.DataFrame") -> np.ndarray:
    """The group of each row; without the column, each row is a group."""
    return frame["group_hash"].to_numpy() if "group_hash" in frame else np.arange(len(frame))


def _quantile(errors: np.ndarray, groups: int, level: float) -> float:
    """The error that is exceeded by a share 1 - level of the rows, with the correction for `groups` groups.

    Of n rows it is the one of rank ceil(level n (groups + 1) / groups); infinite when there is none of that rank.
    """
    # A rank of 90.00000000000001 is 90.
    rank = math.ceil(round(level * len(errors) * (groups + 1) / groups, 9)) if groups else 1
    return float(np.sort(errors)[rank - 1]) if rank <= len(errors) else math.inf


def scaled(log: bool, values: np.ndarray) -> np.ndarray:
    """Values of the target on the scale on which errors are measured: log(1 + value), or as they are."""
    return np.log1p(np.maximum(values, 0.0)) if log else np.asarray(values, dtype=np.float64)
