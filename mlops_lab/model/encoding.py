"""Typed columns as the model's input: the same numbers as `Contract.encode` makes of rows, without a row in memory.

Each distinct value of a column is encoded once, by the feature itself.
"""

import numpy as np
import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.features import Boolean, Feature, Number


def encode_frame(contract: Contract, frame: pd.DataFrame, order: np.ndarray | None = None) -> np.ndarray:
    """Typed rows as the model's input, float32 (n, features), rows in C order.

    frame: at least the contract's features, typed as CleanData has them; a value that is missing for pandas is null.
    order: the positions of the rows to encode, int (n,), in their order; None: all rows as they are.
    Raises `KeyError` when a feature has no column.
    """
    n = len(frame) if order is None else len(order)
    matrix = np.empty((n, len(contract.features)), dtype=np.float32)
    for index, feature in enumerate(contract.features):
        column = encoded(feature, frame[feature.name])
        matrix[:, index] = column if order is None else column[order]
    return matrix


def encoded(feature: Feature, column: pd.Series) -> np.ndarray:
    """A typed column as `Contract.encode` makes it, float32 (n,)."""
    if isinstance(feature, Number | Boolean) and pd.api.types.is_numeric_dtype(column.dtype):
        # By way of float64, as `Feature.encode` goes: a whole number of 64 bits is rounded twice there, too.
        return column.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    places, values = pd.factorize(column)
    # The place of a missing value is -1, the last one.
    codes = np.array([feature.encode(value) for value in (*values, None)], dtype=np.float32)
    return codes[places]
