"""The test rows in detail: intervals of the scores, slices, calibration. The model card shows them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.evaluation import Evaluation, Slice
from mlops_lab.formatting import number
from mlops_lab.metrics import METRICS, OF_TASK
from mlops_lab.model.bootstrap import drawn, resample
from mlops_lab.model.estimate import fit_cells, simulated_on_test

PERCENTILES = [2.5, 97.5]
# Rows from which on a slice has a score: below, it would be chance, and tell of single rows.
MIN_ROWS = 10
# Values of one column that have a slice of their own, the most frequent first; the others share one.
MAX_SLICES = 20
OTHERS = "(others)"
# Bands of the prediction, and groups of rows that a probability is compared with: of equal numbers of rows.
BANDS, TENTHS = 5, 10

# The score of some rows: their indices, int (k,), with repeats, to a number; NaN where it isn't defined.
_Score = Callable[[np.ndarray], float]


def evaluate(
    contract: Contract,
    matrix: np.ndarray,
    truth: np.ndarray,
    output: np.ndarray,
    groups: np.ndarray,
    slices: Mapping[str, np.ndarray],
    *,
    log: bool = False,
    calibration: str | None = None,
) -> Evaluation | None:
    """None without test rows.

    matrix, truth, output: the test rows encoded, their ground truth, the graph's output. groups: that of each, (n,).
    slices: feature → the value of each row as a text, (n,); of the features that the promotion policy names.
    log: the model learns log(1 + target). calibration: the last step of a classifier's graph, in words.
    """
    if not len(truth):
        return None
    found = Evaluation(
        rows=len(truth),
        groups=len(np.unique(groups)),
        intervals=_intervals(contract, truth, output, groups),
        slices=list(_slices(contract, slices, truth, output, groups)),
        calibration=calibration,
        log=log,
    )
    if contract.task == "regression":
        cells = fit_cells(contract, log, matrix, truth, output)
        found = found.model_copy(update={"cells": cells})
    else:
        found = found.model_copy(update={"calibration_error": _calibration_error(contract, truth, output)})
    return found.model_copy(update={"simulated": simulated_on_test(contract, found, matrix, output)})


def reliability(probability: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean probability, share that is true, rows) of up to ten groups of rows of about equal probability.

    probability: (n,). true: 0 or 1, whether what it is the probability of came true, (n,).
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, TENTHS + 1)[1:-1]))
    group = np.searchsorted(edges, probability)
    rows = np.bincount(group)
    there = rows > 0
    sums = (np.bincount(group, weights=values)[there] / rows[there] for values in (probability, true))
    said, came = sums
    return said, came, rows[there]


def confidence(contract: Contract, truth: np.ndarray, output: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A classifier's probabilities and whether each came true: of the class true, or of the most probable class."""
    if contract.task == "binary":
        return output[:, 1], truth
    return output.max(axis=1), (output.argmax(axis=1) == truth).astype(np.float64)


def _calibration_error(contract: Contract, truth: np.ndarray, output: np.ndarray) -> float:
    """Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities, 2015; with tenths of the rows."""
    said, came, rows = reliability(*confidence(contract, truth, output))
    return float(np.average(np.abs(said - came), weights=rows))


def _intervals(
    contract: Contract, truth: np.ndarray, output: np.ndarray, groups: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Of every metric of the task; all are computed on the same resamples."""
    metrics = OF_TASK[contract.task]
    scores = [
        [metric(truth[picked], output[picked], contract.threshold) for metric in metrics]
        for picked in drawn(groups)
    ]
    found = {}
    for metric, values in zip(metrics, np.array(scores).T, strict=True):
        if len(finite := values[np.isfinite(values)]):
            low, high = np.percentile(finite, PERCENTILES)
            found[metric.name] = (float(low), float(high))
    return found


def _slices(
    contract: Contract,
    slices: Mapping[str, np.ndarray],
    truth: np.ndarray,
    output: np.ndarray,
    groups: np.ndarray,
) -> Iterator[Slice]:
    """By the features of the promotion policy, by bands of the prediction, by class."""
    metric = METRICS[contract.metric]

    def score(picked: np.ndarray) -> float:
        return metric(truth[picked], output[picked], contract.threshold)

    def sliced(by: str, name: str, values: np.ndarray, order: list[str], score: _Score) -> Iterator[Slice]:
        for value in order:
            rows = np.flatnonzero(values == value)
            few = len(rows) < contract.promotion.slice_rows
            yield _slice(by, value, name, rows, score, None if few else groups[rows])

    for feature in contract.promotion.slices:
        values = _frequent(slices[feature])
        order = sorted(Counter(values), key=lambda value: (value == OTHERS, value))
        yield from sliced(feature, metric.name, values, order, score)
    target, predicted = contract.target.name, f"predicted {contract.target.name}"
    if contract.task == "regression":
        edges = np.unique(np.quantile(output, np.linspace(0, 1, BANDS + 1)[1:-1]))
        names = _bands(edges)
        yield from sliced(
            predicted, metric.name, np.array(names)[np.searchsorted(edges, output)], names, score
        )
    if contract.task == "multiclass":
        answer = output.argmax(axis=1)
        right = (answer == truth).astype(np.float64)
        of_class, of_answer = (np.array(contract.classes)[found.astype(int)] for found in (truth, answer))

        def share(picked: np.ndarray) -> float:
            return float(right[picked].mean())

        for by, name, values in ((target, "recall", of_class), (predicted, "precision", of_answer)):
            there = [label for label in contract.classes if (values == label).any()]
            yield from sliced(by, name, values, there, share)


def _slice(
    by: str, value: str, metric: str, rows: np.ndarray, score: _Score, groups: np.ndarray | None
) -> Slice:
    """groups: of the rows; None: no interval."""
    found = score(rows) if len(rows) >= MIN_ROWS else np.nan
    if not np.isfinite(found):
        return Slice(by=by, value=value, metric=metric, rows=len(rows))
    scores = np.empty(0) if groups is None else resample(groups, lambda picked: score(rows[picked]))
    low, high = (float(end) for end in np.percentile(scores, PERCENTILES)) if len(scores) else (None, None)
    return Slice(by=by, value=value, metric=metric, rows=len(rows), score=found, low=low, high=high)


def _frequent(values: np.ndarray) -> np.ndarray:
    """The values with the rare ones replaced by one name."""
    counts = Counter(values.tolist())
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    kept = ranked if len(ranked) <= MAX_SLICES else ranked[: MAX_SLICES - 1]
    return np.where(np.isin(values, kept), values, OTHERS) if len(kept) < len(ranked) else values


def _bands(edges: np.ndarray) -> list[str]:
    """The names of the bands between the inner edges."""
    if not len(edges):
        return ["all"]
    ends = [number(float(edge)) for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(ends)]
    return [f"up to {ends[0]}", *between, f"over {ends[-1]}"]
