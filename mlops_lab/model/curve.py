"""How one prediction changes with one field, all other fields as they are.

This is the row's curve of individual conditional expectation (Goldstein et al., Peeking inside the black box, 2015).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.features import FIRST_CODE, MISSING_CODE, RARE_CODE, Boolean, Category, Date, Integer, Number

# Values of a number or a date, and the most frequent values of a category.
POINTS, TOP_VALUES = 30, 15


@dataclass(frozen=True)
class Curve:
    """values: of the field, n JSON types, ascending, or the most frequent first. outputs: float64 (n,).

    current: the index of the row's own value; None when that is an unknown number or date.
    """

    values: list[Any]
    outputs: list[float]
    current: int | None


def curve(
    run: Callable[[np.ndarray], np.ndarray],
    contract: Contract,
    row: dict[str, Any],
    matrix: np.ndarray,
    name: str,
    column: int | None,
) -> Curve:
    """The predictions of a row with other values of the feature `name`, in one call of the model.

    run:    encoded rows, float32 (n, features), to (n,) or (n, classes): `Predictor.run`.
    row:    typed, as `Contract.read` returns it. matrix: the same encoded, float32 (1, features).
    column: for classifiers: the index of the class whose probability is the output.
    """
    index = [feature.name for feature in contract.features].index(name)
    values, codes, current = _grid(contract, index, row[name], float(matrix[0, index]))
    rows = np.repeat(matrix, len(codes), axis=0)
    rows[:, index] = codes
    y = run(rows)
    return Curve(values, (y if column is None else y[:, column]).astype(np.float64).tolist(), current)


def _grid(
    contract: Contract, index: int, value: Any, own: float
) -> tuple[list[Any], list[float], int | None]:
    """(values, their codes, the index of the row's own value). own: the code of `value`."""
    feature = contract.features[index]
    if isinstance(feature, Category):
        codes = [float(FIRST_CODE + rank) for rank in range(min(TOP_VALUES, len(feature.vocabulary)))]
        if own not in codes:
            codes.append(own)
        names = {MISSING_CODE: None, RARE_CODE: value}
        known = [names[int(c)] if c in names else feature.vocabulary[int(c) - FIRST_CODE] for c in codes]
        return known, codes, codes.index(own)
    if isinstance(feature, Boolean):
        codes = [0.0, 1.0, *([own] if value is None else [])]
        return [False, True, None][: len(codes)], codes, 2 if value is None else int(own)
    low, high = _ends(contract, feature)
    # A whole number for a whole one; six digits say as much as the model's float32.
    whole = isinstance(feature, Integer | Date)
    points = {
        float(round(point)) if whole else float(f"{point:.6g}") for point in np.linspace(low, high, POINTS)
    }
    codes = sorted(points | ({own} if value is not None else set()))
    values: list[Any] = [int(code) for code in codes] if whole else list(codes)
    current = None if value is None else codes.index(own)
    if isinstance(feature, Date):
        epoch = date(1970, 1, 1).toordinal()
        return [date.fromordinal(days + epoch).isoformat() for days in values], codes, current
    if current is not None:
        values[current] = value
    return values, codes, current


def _ends(contract: Contract, feature: Number | Date) -> tuple[float, float]:
    """Where the curve of a number or a date begins and ends.

    The inner edges of the reference are the 10th to the 90th percentile of the training rows; a quarter of that is
    added at both sides. Without a reference (an earlier release) the ends are half and one and a half of the example.
    """
    stored = contract.reference.get(feature.name)
    if stored and stored.edges:
        low, high = stored.edges[0], stored.edges[-1]
        room = (high - low) / 4
    else:
        low = high = feature.encode(feature.read(feature.example)) if feature.example is not None else 0.0
        room = abs(low) / 2
    room = max(room, abs(high) * 1e-3, 1.0 if isinstance(feature, Integer | Date) else 1e-6)
    bounds: list[Any] = [feature.minimum, feature.maximum]
    least, most = (None if bound is None else feature.encode(bound) for bound in bounds)
    return max(low - room, -math.inf if least is None else least), min(
        high + room, math.inf if most is None else most
    )
