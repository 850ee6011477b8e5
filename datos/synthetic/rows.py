"""Turns drawn columns into the texts of a CSV row and back."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def as_text(values: np.ndarray) -> list[str]:
    """Texts of one column as the course's files write them: 3.0, 0.36, plain integers, and "" for NaN."""
    if values.dtype.kind == "f":
        return ["" if math.isnan(value) else repr(value) for value in values.tolist()]
    return [str(value) for value in values.tolist()]


def to_float(values: Iterable[Any]) -> np.ndarray:
    """Texts or numbers of one column as float64; "" and None become NaN. Raises ValueError for other text."""
    return np.array([np.nan if value is None or value == "" else float(value) for value in values])
