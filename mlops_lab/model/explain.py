"""Explains a prediction: permutation SHAP values of any model, in the unit of the prediction.

Interventional SHAP values of f at x against background rows B are averages, over orders of the features, of how
f changes when the features of x replace those of a background row one after the other (Štrumbelj and Kononenko,
Explaining prediction models and individual predictions with feature contributions, 2014). Each order is walked
there and back (antithetic sampling: Mitchell et al., Sampling permutations for Shapley value estimation, JMLR 2022),
which makes the values exact when no more than two features interact. Every walk ends at f(x), so the values always
sum to f(x) minus the background's mean, however few orders are drawn.

`shap.PermutationExplainer` is the same algorithm. It isn't used here because the package brings numba, LLVM, pandas and
scikit-learn: images stay small, starts fast, and a process that trains has 94 MiB less. The tests compare this module
with the package.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]


class ShapValues(NamedTuple):
    """base_values (n,): mean prediction of the background; values (n, features): `base + values.sum(1)` is f(x)."""

    base_values: np.ndarray
    values: np.ndarray


def explain(
    run: Run,
    matrix: np.ndarray,
    background: np.ndarray,
    column: int | np.ndarray | None = None,
    rounds: int = 2,
    seed: int = 0,
    cells: int = 2**21,
) -> ShapValues:
    """Explains each row of an encoded matrix.

    run:        encoded rows, float32 (n, features), to (n,) or (n, classes): `Predictor.run`.
    matrix:     rows to explain, float32 (n, features).
    background: rows that each row is compared with, float32 (m, features).
    column:     for classifiers: the index of the class to explain, one for all rows or one for each row; by default
                the last class.
    rounds:     the number of orders that are drawn. The same seed gives the same orders.
    cells:      the largest number of floats in a call of the model; a row takes one call when it fits.

    A row costs at most 2 · rounds · features · m predictions; a feature with equal values in row and background
    costs none.
    """
    if not len(background):
        raise ValueError("an explanation needs at least one background row")
    generator = np.random.Generator(np.random.PCG64(seed))
    orders = [generator.permutation(matrix.shape[1]) for _ in range(rounds)]
    walk = np.concatenate([np.concatenate([order, order]) for order in orders])
    columns = np.broadcast_to(-1 if column is None else column, len(matrix))
    found = [
        _explain_row(run, row, background, walk, c, cells) for row, c in zip(matrix, columns, strict=True)
    ]
    return ShapValues(
        np.array([base for base, _ in found]), np.array([values for _, values in found]).reshape(matrix.shape)
    )


def _explain_row(
    run: Run, row: np.ndarray, background: np.ndarray, walk: np.ndarray, column: int, cells: int
) -> tuple[float, np.ndarray]:
    """(base, values) of one row. `walk` holds the feature that is toggled at each step: in, and later out again."""
    features = len(row)
    size = max(1, cells // (features * (len(walk) + 1)))
    base, total = 0.0, np.zeros(features)
    for start in range(0, len(background), size):
        part = background[start : start + size]
        states = _predict_walk(run, row, part, walk, column, cells)
        base += states[0].sum()
        change = np.diff(states, axis=0).sum(axis=1)
        # In each round a feature is toggled in on the way there, and out on the way back, which counts negatively.
        sign = np.where(np.arange(len(walk)) // features % 2 == 0, 1.0, -1.0)
        np.add.at(total, walk, sign * change)
    rounds = len(walk) // (2 * features)
    return base / len(background), total / (2 * rounds * len(background))


def _predict_walk(
    run: Run, row: np.ndarray, background: np.ndarray, walk: np.ndarray, column: int, cells: int
) -> np.ndarray:
    """Predictions after each step for each background row, float64 (steps + 1, m).

    A step that changes nothing, because row and background have the same value, takes no prediction.
    """
    features, m = len(row), len(background)
    differs = ~((background == row) | (np.isnan(background) & np.isnan(row)))
    fresh = np.vstack([np.ones(m, dtype=bool), differs[:, walk].T])  # (steps + 1, m)
    inside = np.zeros((len(walk) + 1, features), dtype=bool)
    for step, feature in enumerate(walk):
        inside[step + 1] = inside[step]
        inside[step + 1, feature] = not inside[step, feature]
    # Ordered by background row, then step.
    steps, which = np.nonzero(fresh.T)[::-1]
    predictions = np.empty(len(steps))
    size = max(1, cells // features)
    for start in range(0, len(steps), size):
        chunk = slice(start, start + size)
        rows = np.where(inside[steps[chunk]], row, background[which[chunk]]).astype(np.float32, copy=False)
        y = run(rows)
        predictions[chunk] = y if y.ndim == 1 else y[:, column]
    latest = np.cumsum(fresh.T.ravel()) - 1
    return predictions[latest].reshape(m, -1).T
