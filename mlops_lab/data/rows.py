"""Rows of a frame as plain dictionaries, the one bridge from pandas to the contract; a column as texts."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def rows(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Every row as a dictionary of plain values; a value that is missing for pandas is None."""
    columns = [_plain(frame[name]) for name in frame.columns]
    names = list(frame.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(column: "pd.Series") -> list[Any]:
    # pandas' type stubs refuse None in `where`, although it is valid for an object column.
    nothing: Any = None
    return column.astype(object).where(column.notna(), nothing).tolist()


def texts(column: "pd.Series") -> np.ndarray:
    """The values as texts, (n,); a missing one is a value of its own."""
    return column.astype("object").where(column.notna(), "missing").astype(str).to_numpy(dtype=str)
