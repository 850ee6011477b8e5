"""The error of predictions before their ground truth comes, estimated from the rows alone. See docs/decisions.md.

A classifier's own probabilities say how often it will be wrong; for regression the errors of the test rows do, those of
similar rows. The ground truth is drawn from them many times, and the use case's metric scores each draw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.evaluation import Cell, Evaluation
from mlops_lab.features import Number
from mlops_lab.metrics import METRICS
from mlops_lab.model.interval import scaled
from mlops_lab.model.live import error

DRAWS = 200
# Test rows, and draws of them, that the simulated score of the test rows is the mean of.
MOST_TEST, TEST_DRAWS = 20_000, 40
# Parts of the input at most, and test rows of each at least; 41 quantiles are those of each 2.5 %.
MAX_CELLS, MIN_CELL, QUANTILES = 12, 100, 41
# A number below every other one: scikit-learn's trees take no infinity.
BELOW = float(np.finfo(np.float32).min)

# Ground truth of some rows: their indices, int (k,), and a random number in [0, 1) for each, to values, float (k,).
_Draw = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Estimated:
    """The estimate for some rows that the champion predicts.

    interval: of 95 % of the draws. test_interval: the 95 % bootstrap interval of the same metric on the test rows.
    worse: the error at the better end of `interval` is above the error at the worse end of `test_interval`.
    """

    metric: str
    score: float
    interval: tuple[float, float]
    test_interval: tuple[float, float]
    worse: bool


def estimate(contract: Contract, matrix: np.ndarray, output: np.ndarray) -> Estimated | None:
    """None when the model of an earlier release has no figures for it, or where the metric isn't defined.

    matrix, output: encoded rows, float32 (n, features), and the graph's output for them.
    """
    found, test = contract.evaluation, contract.test_score
    if found is None or found.simulated is None or test is None or not len(matrix):
        return None
    limits = found.intervals.get(contract.metric)
    before = error(contract, found.simulated)
    scores = _simulated(contract, found, matrix, output, DRAWS)
    if limits is None or before <= 0 or not len(scores):
        return None
    # By how much the rows are harder than the test rows; so what the simulation leaves out counts on neither side.
    errors = error(contract, test) * np.array([error(contract, value) for value in scores]) / before
    low, high = np.percentile(errors, [2.5, 97.5])
    worst = max(error(contract, end) for end in limits)
    ends = sorted(error(contract, float(end)) for end in (low, high))
    return Estimated(
        metric=contract.metric,
        score=float(error(contract, float(errors.mean()))),
        interval=(ends[0], ends[1]),
        test_interval=limits,
        worse=bool(low > worst),
    )


def simulated_on_test(
    contract: Contract, found: Evaluation, matrix: np.ndarray, output: np.ndarray
) -> float | None:
    """The mean of the metric on draws of the test rows' ground truth; None where it isn't defined."""
    if len(matrix) > MOST_TEST:
        chosen = np.random.default_rng(0).choice(len(matrix), MOST_TEST, replace=False)
        matrix, output = matrix[chosen], output[chosen]
    scores = _simulated(contract, found, matrix, output, TEST_DRAWS)
    return float(scores.mean()) if len(scores) else None


def fit_cells(
    contract: Contract, log: bool, matrix: np.ndarray, truth: np.ndarray, output: np.ndarray
) -> list[Cell]:
    """Parts of the input in which errors are of different size, found by a small regression tree, with their errors.

    matrix, truth, output: of rows that the model didn't learn from. log: errors are of log(1 + value).
    """
    from sklearn.tree import DecisionTreeRegressor

    errors = scaled(log, truth) - scaled(log, output)
    columns = _columns(matrix, output)
    tree = DecisionTreeRegressor(max_leaf_nodes=MAX_CELLS, min_samples_leaf=MIN_CELL, random_state=0)
    tree.fit(columns, np.abs(errors))
    leaf = tree.apply(columns)
    names = [*(feature.name for feature in contract.features), contract.target.name]
    levels = np.linspace(0, 1, QUANTILES)
    return [
        Cell(
            within=within,
            rows=int(np.sum(leaf == node)),
            errors=[float(f"{value:.6g}") for value in np.quantile(errors[leaf == node], levels)],
        )
        for node, within in _leaves(tree.tree_, names, 0, {})
    ]


def _leaves(
    tree: Any, names: list[str], node: int, within: dict[str, tuple[float | None, float | None]]
) -> list[tuple[int, dict[str, tuple[float | None, float | None]]]]:
    """(number, bounds) of each leaf below the node."""
    if tree.children_left[node] < 0:
        return [(node, within)]
    name, at = names[tree.feature[node]], float(tree.threshold[node])
    above, upto = within.get(name, (None, None))
    left = _leaves(tree, names, tree.children_left[node], within | {name: (above, at)})
    return left + _leaves(tree, names, tree.children_right[node], within | {name: (at, upto)})


def _simulated(
    contract: Contract, found: Evaluation, matrix: np.ndarray, output: np.ndarray, draws: int
) -> np.ndarray:
    """The metric on draws of rows with replacement and of their ground truth, float (m,); only finite ones."""
    metric, n = METRICS[contract.metric], len(output)
    output = np.asarray(output, dtype=np.float64)
    truth = _numbers(contract, found, matrix, output) if contract.task == "regression" else _classes(output)
    random, scores = np.random.default_rng(0), list[float]()
    for _ in range(draws):
        picked, chance = random.integers(0, n, n), random.random(n)
        scores.append(metric(truth(picked, chance), output[picked], contract.threshold))
    values = np.array(scores, dtype=np.float64)
    return values[np.isfinite(values)]


def _classes(output: np.ndarray) -> _Draw:
    """Classes, drawn by their probabilities."""
    sums = np.cumsum(output, axis=1)

    def drawn(picked: np.ndarray, chance: np.ndarray) -> np.ndarray:
        passed = chance[:, None] * sums[picked, -1:] > sums[picked, :-1]
        return passed.sum(axis=1).astype(np.float64)

    return drawn


def _numbers(contract: Contract, found: Evaluation, matrix: np.ndarray, output: np.ndarray) -> _Draw:
    """Predictions plus an error of the test rows in the same cell."""
    quantiles = np.array([cell.errors for cell in found.cells])
    cell, middle = _cell_of(contract, found.cells, matrix, output), scaled(found.log, output)

    def drawn(picked: np.ndarray, chance: np.ndarray) -> np.ndarray:
        place = chance * (quantiles.shape[1] - 1)
        below, of = place.astype(int), cell[picked]
        share = place - below
        errors = (1 - share) * quantiles[of, below] + share * quantiles[of, below + 1]
        return _in_range(contract, found.log, middle[picked] + errors)

    return drawn


def _cell_of(contract: Contract, cells: list[Cell], matrix: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The number of the cell that each row is in, (n,)."""
    # A bound may lie between two neighbours of float32.
    columns = _columns(matrix, output).astype(np.float64)
    index = {feature.name: number for number, feature in enumerate(contract.features)}
    index[contract.target.name] = len(contract.features)
    found = np.zeros(len(columns), dtype=int)
    for number, cell in enumerate(cells):
        inside = np.ones(len(columns), dtype=bool)
        for name, (above, upto) in cell.within.items():
            column = columns[:, index[name]]
            inside &= (above is None) | (column > (above or 0.0))
            inside &= (upto is None) | (column <= (upto or 0.0))
        found[inside] = number
    return found


def _columns(matrix: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The encoded rows with the prediction as the last column, float32; a missing value is below every other one."""
    columns = np.column_stack([matrix, output]).astype(np.float32)
    return np.where(np.isnan(columns), np.float32(BELOW), columns)


def _in_range(contract: Contract, log: bool, values: np.ndarray) -> np.ndarray:
    """Drawn values of the target in its own unit, within its declared range."""
    values = np.maximum(np.expm1(values), 0.0) if log else values
    target = contract.target
    low, high = (target.minimum, target.maximum) if isinstance(target, Number) else (None, None)
    return values if low is None and high is None else np.clip(values, low, high)
