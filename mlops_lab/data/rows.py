"""Rows of a frame as plain dictionaries, the one bridge from pandas to the contract; a column as texts."""

import json
import math
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


# As `json.dumps` does with these options, without a new encoder for each value.
_dumped = json.JSONEncoder(ensure_ascii=False, default=str).encode


def rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Every row as a dictionary of plain values; a value that is missing for pandas is None."""
    columns = [_plain(frame[name]) for name in frame.columns]
    names = list(frame.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def as_json(column: "pd.Series") -> list[str]:
    """Each value as JSON; a missing one is null, and what JSON doesn't know is its text in quotes.

    A value is written once, however many rows have it.
    """
    if column.dtype == "float64":
        return [_float(value) for value in column.tolist()]
    if str(column.dtype) in ("str", "Int64", "int64", "boolean", "bool"):
        codes, values = column.factorize()
        # The code of a missing value is -1, the last place.
        texts = [*map(_dumped, values.tolist()), "null"]
        return [texts[code] for code in codes.tolist()]
    known: dict[tuple[type, Any], str] = {}
    found = []
    for value in _plain(column):
        # Equal values of these types have equal texts: 0.0 and -0.0 have not.
        if type(value) not in (str, int, bool, date):
            found.append(_dumped(value))
            continue
        key = type(value), value
        if (text := known.get(key)) is None:
            text = known[key] = _dumped(value)
        found.append(text)
    return found


def _float(value: float) -> str:
    if math.isfinite(value):
        return float.__repr__(value)
    return "null" if value != value else _dumped(value)


def _plain(column: "pd.Series") -> list[Any]:
    # pandas' type stubs refuse None in `where`, although it is valid for an object column.
    nothing: Any = None
    return column.astype(object).where(column.notna(), nothing).tolist()


def texts(column: "pd.Series") -> np.ndarray:
    """The values as texts, (n,); a missing one is a value of its own."""
    return column.astype("object").where(column.notna(), "missing").astype(str).to_numpy(dtype=str)
