"""The scores of a model: plain numpy, fast enough to be computed hundreds of times in a bootstrap.

`truth` is what `Contract.encode_target` gives, float (n,): numbers, 0 and 1, or places among the classes.
`output` is the graph's `y`: (n,) predictions, or (n, classes) probabilities.
"""

from collections.abc import Callable

import numpy as np

from mlops_lab.contract import Task

SMALLEST = 1e-15  # a probability that log loss still takes, as in scikit-learn


def score(
    task: Task, truth: np.ndarray, output: np.ndarray, *, threshold: float | None = None
) -> dict[str, float]:
    """Every metric of the task by name. `threshold`: binary, positive from this probability on (0.5 when left out)."""
    return {name: metric(name, truth, output, threshold) for name in OF_TASK[task]}


def metric(name: str, truth: np.ndarray, output: np.ndarray, threshold: float | None = None) -> float:
    """One metric; NaN where it isn't defined: no rows, or an AUC of one class only. `KeyError`: an unknown name."""
    function = _FUNCTIONS[name]
    if not len(truth):
        return float("nan")
    truth, output = np.asarray(truth, dtype=np.float64), np.asarray(output, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(function(truth, output) if output.ndim == 1 else function(truth, output, threshold))


def best_threshold(truth: np.ndarray, positive: np.ndarray) -> float:
    """The probability (n,) from which on to say yes, so that F1 is greatest; 0.5 when no row is positive.

    F1 and not accuracy: where one class is rare, accuracy is best by never naming it.
    Midway between two probabilities, so that rounding doesn't decide.
    """
    if not truth.any():
        return 0.5
    order = np.argsort(-positive, kind="stable")
    ranked, hits = positive[order], np.cumsum(truth[order])
    named = np.arange(1, len(ranked) + 1)
    f1 = 2 * hits / (named + hits[-1])
    last = np.append(ranked[1:] < ranked[:-1], True)  # equal probabilities can't be told apart
    place = int(np.argmax(np.where(last, f1, -1.0)))
    below = ranked[place + 1] if place + 1 < len(ranked) else 0.0
    return float((ranked[place] + below) / 2)


def _rmse(truth, output):
    return np.sqrt(np.mean((truth - output) ** 2))


def _r2(truth, output):
    return 1 - np.sum((truth - output) ** 2) / np.sum((truth - truth.mean()) ** 2)


def _log(values):
    """log(1 + x), as scikit-learn's logarithmic errors; below 0 counts as 0."""
    return np.log1p(np.maximum(values, 0.0))


def _relative(truth, output):
    return np.abs(truth - output)[truth != 0] / np.abs(truth)[truth != 0]


def _roc_auc(truth, output, threshold):
    """By ranks (Mann-Whitney U), ties shared."""
    positives = truth.sum()
    negatives = len(truth) - positives
    _, place, counts = np.unique(output[:, 1], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)


def _brier(truth, output, threshold):
    return np.mean((output[:, 1] - truth) ** 2)


def _log_loss(truth, output, threshold):
    return -np.mean(np.log(np.clip(output[np.arange(len(truth)), truth.astype(int)], SMALLEST, 1.0)))


def _named(output, threshold):
    """The class that is named for each row."""
    if output.shape[1] == 2:
        return (output[:, 1] >= (0.5 if threshold is None else threshold)).astype(int)
    return output.argmax(axis=1)


def _accuracy(truth, output, threshold):
    return np.mean(_named(output, threshold) == truth)


def _precision(truth, output, threshold):
    named = _named(output, threshold) == 1
    return truth[named].mean() if named.any() else 0.0


def _recall(truth, output, threshold):
    return np.mean(_named(output, threshold)[truth == 1] == 1) if truth.any() else 0.0


def _f1(truth, output, threshold):
    named = _named(output, threshold)
    return _f1_of(named == 1, truth == 1)


def _f1_macro(truth, output, threshold):
    """The mean over the classes that are there or were named."""
    named = output.argmax(axis=1)
    return np.mean([_f1_of(named == label, truth == label) for label in np.union1d(named, truth)])


def _f1_of(named, true):
    total = named.sum() + true.sum()
    return 2 * np.sum(named & true) / total if total else 0.0


_REGRESSION: dict[str, Callable] = {
    "rmse": _rmse,
    "mae": lambda truth, output: np.mean(np.abs(truth - output)),
    "mape": lambda truth, output: np.mean(_relative(truth, output)),
    "r2": _r2,
    "rmse_log": lambda truth, output: _rmse(_log(truth), _log(output)),
    "r2_log": lambda truth, output: _r2(_log(truth), _log(output)),
    "mdape": lambda truth, output: np.median(_relative(truth, output)),
}
_BINARY = {
    "roc_auc": _roc_auc,
    "brier": _brier,
    "accuracy": _accuracy,
    "f1": _f1,
    "precision": _precision,
    "recall": _recall,
    "log_loss": _log_loss,
}
_MULTICLASS = {"accuracy": _accuracy, "f1_macro": _f1_macro, "log_loss": _log_loss}
_FUNCTIONS = _REGRESSION | _BINARY | _MULTICLASS
OF_TASK: dict[Task, tuple[str, ...]] = {
    "regression": tuple(_REGRESSION),
    "binary": tuple(_BINARY),
    "multiclass": tuple(_MULTICLASS),
}
