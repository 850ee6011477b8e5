"""The metrics, one table: name, direction, tasks and function. A new metric is one function and one row here.

Plain numpy, fast enough to be computed hundreds of times in a bootstrap. `truth` is what `Contract.encode_target`
gives, float (n,): numbers, 0 and 1, or indices of classes. `output` is the graph's `y`: (n,) predictions, or
(n, classes) probabilities.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from mlops_lab.errors import UseCaseError

Task = Literal["regression", "binary", "multiclass"]

# The type of a numpy function's result: numpy's own float or Python's.
Score = float | np.floating[Any]

# The smallest probability that log loss accepts, as in scikit-learn.
SMALLEST = 1e-15


def _not_set(*arguments: Any) -> float:
    raise NotImplementedError


@dataclass(frozen=True)
class Metric:
    """One metric; `metric(truth, output, threshold)` computes it.

    gate:     used when a use case chooses this metric: (metric, loss), a bound of its promotion policy from the start.
              `PromotionPolicy.bounds` may name another loss.
    function: (truth, output) for regression, (truth, output, threshold) for classifiers. Only this module sets it;
              elsewhere it is taken from the table by the name.

    Raises `UseCaseError` when the table has no metric of that name, or has it with the other direction.
    """

    name: str
    greater_is_better: bool
    gate: tuple[str, float] | None = None
    function: Callable[..., Score] = field(default=_not_set, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.function is not _not_set:
            return
        if self.name not in METRICS:
            raise UseCaseError(f"there is no metric {self.name!r}; there are {', '.join(METRICS)}")
        known = METRICS[self.name]
        if self.greater_is_better != known.greater_is_better:
            raise UseCaseError(
                f"greater_is_better of the metric {self.name} must be {known.greater_is_better}"
            )
        object.__setattr__(self, "function", known.function)

    @property
    def sign(self) -> int:
        """1 when greater is better, -1 when smaller is: `sign * value` is to be maximised."""
        return 1 if self.greater_is_better else -1

    def gain(self, new: float, old: float) -> float:
        """By how much `new` is better than `old`: the share of the old error that it is without, 0.02 for 2 % less.

        The error is the distance to the score of a model without fault: 0 where smaller is better, else 1 (so for an
        accuracy the share of wrong rows, for R² the variance that isn't explained). Negative when it is worse; minus
        infinity when it is worse than a model without error.
        """
        error = abs((1.0 if self.greater_is_better else 0.0) - old)
        better = self.sign * (new - old)
        return better / error if error else float(np.copysign(np.inf, better)) if better else 0.0

    def __call__(self, truth: np.ndarray, output: np.ndarray, threshold: float | None = None) -> float:
        """NaN where the metric isn't defined: without rows, or an AUC of one class only.

        threshold: binary: positive from this probability on; 0.5 when left out.
        """
        if not len(truth):
            return float("nan")
        truth, output = np.asarray(truth, dtype=np.float64), np.asarray(output, dtype=np.float64)
        arguments = (truth, output) if output.ndim == 1 else (truth, output, threshold)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.function(*arguments))


def greater_is_better(name: str) -> bool | None:
    """The direction of the metric of that name; None when the table has no such metric."""
    return METRICS[name].greater_is_better if name in METRICS else None


def score(
    task: Task, truth: np.ndarray, output: np.ndarray, *, threshold: float | None = None
) -> dict[str, float]:
    """Every metric of the task by name. `threshold`: as in `Metric`."""
    return {metric.name: metric(truth, output, threshold) for metric in OF_TASK[task]}


@dataclass(frozen=True)
class Threshold:
    """From which probability on a binary model answers true: one of three rules, decided on validation rows.

    beta:  the greatest F-beta score: recall counts `beta` times as much as precision. 1.0 gives F1.
    cost:  the least cost, where a true row that is missed costs as much as `cost` false alarms.
    fixed: this probability, whatever the rows are.

    F-beta and not accuracy: when one class is rare, never predicting it can have the best accuracy.
    Raises `UseCaseError` when more than one rule is chosen, or a number is out of its range.
    """

    beta: float | None = None
    cost: float | None = None
    fixed: float | None = None

    def __post_init__(self) -> None:
        chosen = [value for value in (self.beta, self.cost, self.fixed) if value is not None]
        if len(chosen) > 1:
            raise UseCaseError("a threshold has one rule: beta, cost or fixed")
        if not all(value > 0 for value in chosen) or (self.fixed or 0) > 1:
            raise UseCaseError("a threshold's beta and cost must be above 0, and fixed above 0 and at most 1")

    def __str__(self) -> str:
        if self.fixed is not None:
            return f"fixed at {self.fixed:g}"
        if self.cost is not None:
            return f"least cost, a miss costs {self.cost:g} false alarms"
        return f"best F{self.beta or 1.0:g}"

    def choose(self, truth: np.ndarray, positive: np.ndarray) -> float:
        """The threshold for these rows; 0.5 when no row is positive.

        truth: 0 or 1, (n,). positive: the probability of the positive class, (n,).
        The threshold is midway between two probabilities, so that rounding doesn't change a prediction.
        """
        if self.fixed is not None:
            return self.fixed
        if not truth.any():
            return 0.5
        # Entry k says what is gained when the k rows of the highest probability are answered true.
        order = np.argsort(-positive, kind="stable")
        ranked, hits = positive[order], np.append(0.0, np.cumsum(truth[order]))
        answered = np.arange(len(hits))
        if self.cost is None:
            weight = (self.beta or 1.0) ** 2
            gain = (1 + weight) * hits / (answered + weight * hits[-1])
        else:
            gain = self.cost * hits - (answered - hits)
        # Rows of equal probability can only be answered alike.
        last = np.append(True, np.append(ranked[1:] < ranked[:-1], True))
        best = int(np.argmax(np.where(last, gain, -np.inf)))
        above, below = np.append(1.0, ranked)[best], np.append(ranked, 0.0)[best]
        return float((above + below) / 2)


def _rmse(truth: np.ndarray, output: np.ndarray) -> Score:
    return np.sqrt(np.mean((truth - output) ** 2))


def _mae(truth: np.ndarray, output: np.ndarray) -> Score:
    return np.mean(np.abs(truth - output))


def _mape(truth: np.ndarray, output: np.ndarray) -> Score:
    return np.mean(_relative(truth, output))


def _mdape(truth: np.ndarray, output: np.ndarray) -> Score:
    return np.median(_relative(truth, output))


def _rmse_log(truth: np.ndarray, output: np.ndarray) -> Score:
    return _rmse(_log(truth), _log(output))


def _r2_log(truth: np.ndarray, output: np.ndarray) -> Score:
    return _r2(_log(truth), _log(output))


def _r2(truth: np.ndarray, output: np.ndarray) -> Score:
    return 1 - np.sum((truth - output) ** 2) / np.sum((truth - truth.mean()) ** 2)


def _log(values: np.ndarray) -> np.ndarray:
    """log(1 + x), as scikit-learn's logarithmic errors; below 0 counts as 0."""
    return np.log1p(np.maximum(values, 0.0))


def _relative(truth: np.ndarray, output: np.ndarray) -> np.ndarray:
    return np.abs(truth - output)[truth != 0] / np.abs(truth)[truth != 0]


def _roc_auc(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    """By ranks (Mann-Whitney U); equal values share their mean rank."""
    positives = truth.sum()
    negatives = len(truth) - positives
    _, index, counts = np.unique(output[:, 1], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    return (ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)


def _brier(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    """Of two classes the squared error of the probability of true; of more, their sum over the classes (0 to 2)."""
    if output.shape[1] == 2:
        return np.mean((output[:, 1] - truth) ** 2)
    chosen = truth[:, None] == np.arange(output.shape[1])
    return np.mean(np.sum((output - chosen) ** 2, axis=1))


def _log_loss(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    return -np.mean(np.log(np.clip(output[np.arange(len(truth)), truth.astype(int)], SMALLEST, 1.0)))


def _classes(output: np.ndarray, threshold: float | None) -> np.ndarray:
    """The predicted class of each row."""
    if output.shape[1] == 2:
        return (output[:, 1] >= (0.5 if threshold is None else threshold)).astype(int)
    return output.argmax(axis=1)


def _accuracy(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    return np.mean(_classes(output, threshold) == truth)


def _precision(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    predicted = _classes(output, threshold) == 1
    return truth[predicted].mean() if predicted.any() else 0.0


def _recall(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    return np.mean(_classes(output, threshold)[truth == 1] == 1) if truth.any() else 0.0


def _f1(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    predicted = _classes(output, threshold)
    return _f1_of(predicted == 1, truth == 1)


def _f1_macro(truth: np.ndarray, output: np.ndarray, threshold: float | None) -> Score:
    """The mean over the classes that occur in the truth or in the predictions."""
    predicted = output.argmax(axis=1)
    found = [float(_f1_of(predicted == label, truth == label)) for label in np.union1d(predicted, truth)]
    return np.mean(found)


def _f1_of(predicted: np.ndarray, true: np.ndarray) -> Score:
    total = predicted.sum() + true.sum()
    return 2 * np.sum(predicted & true) / total if total else 0.0


# Regression.
RMSE = Metric("rmse", greater_is_better=False, function=_rmse)
MAE = Metric("mae", greater_is_better=False, function=_mae)
MAPE = Metric("mape", greater_is_better=False, function=_mape)
R2 = Metric("r2", greater_is_better=True, function=_r2)
RMSE_LOG = Metric("rmse_log", greater_is_better=False, function=_rmse_log)
R2_LOG = Metric("r2_log", greater_is_better=True, function=_r2_log)
MDAPE = Metric("mdape", greater_is_better=False, function=_mdape)
# Binary.
ROC_AUC = Metric("roc_auc", greater_is_better=True, function=_roc_auc, gate=("brier", 0.02))
F1 = Metric("f1", greater_is_better=True, function=_f1)
PRECISION = Metric("precision", greater_is_better=True, function=_precision)
RECALL = Metric("recall", greater_is_better=True, function=_recall)
# Both kinds of classification.
BRIER = Metric("brier", greater_is_better=False, function=_brier)
ACCURACY = Metric("accuracy", greater_is_better=True, function=_accuracy)
LOG_LOSS = Metric("log_loss", greater_is_better=False, function=_log_loss)
# Multiclass.
F1_MACRO = Metric("f1_macro", greater_is_better=True, function=_f1_macro)

OF_TASK: dict[Task, tuple[Metric, ...]] = {
    "regression": (RMSE, MAE, MAPE, R2, RMSE_LOG, R2_LOG, MDAPE),
    "binary": (ROC_AUC, BRIER, ACCURACY, F1, PRECISION, RECALL, LOG_LOSS),
    "multiclass": (ACCURACY, F1_MACRO, BRIER, LOG_LOSS),
}
METRICS: dict[str, Metric] = {metric.name: metric for metrics in OF_TASK.values() for metric in metrics}
