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

    title:    in words, for people who don't know the name. about: one sentence that says what a value means.
    shown:    how a value is written: a plain number, a share in per cent, or an amount in the target's unit.
    gate:     used when a use case chooses this metric: (metric, loss), a bound of its promotion policy from the start.
              `PromotionPolicy.bounds` may name another loss.
    function: (truth, output) for regression, (truth, output, threshold) for classifiers. Only this module sets it;
              elsewhere it is taken from the table by the name.

    Raises `UseCaseError` when the table has no metric of that name, or has it with the other direction.
    """

    name: str
    greater_is_better: bool
    title: str = field(default="", repr=False, compare=False)
    about: str = field(default="", repr=False, compare=False)
    shown: Literal["plain", "share", "amount"] = field(default="plain", repr=False, compare=False)
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
        for name in ("function", "title", "about", "shown"):
            object.__setattr__(self, name, getattr(known, name))

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
RMSE = Metric(
    "rmse",
    greater_is_better=False,
    title="Root mean squared error",
    about="The root of the mean squared error: a mean error in which large ones weigh more.",
    shown="amount",
    function=_rmse,
)
MAE = Metric(
    "mae",
    greater_is_better=False,
    title="Mean error",
    about="How far a prediction is from the true value on average.",
    shown="amount",
    function=_mae,
)
MAPE = Metric(
    "mape",
    greater_is_better=False,
    title="Mean error in per cent",
    about="How far a prediction is from the true value on average, as a share of the true value.",
    shown="share",
    function=_mape,
)
R2 = Metric(
    "r2",
    greater_is_better=True,
    title="Explained variance (R²)",
    about="The share of the target's variance that the model explains: 1 without errors, 0 for always the mean.",
    function=_r2,
)
RMSE_LOG = Metric(
    "rmse_log",
    greater_is_better=False,
    title="Error of the logarithm",
    about="The root mean squared error of log(1 + value): 0.1 means about 10% off, whatever the value's size.",
    function=_rmse_log,
)
R2_LOG = Metric(
    "r2_log",
    greater_is_better=True,
    title="Explained variance of the logarithm",
    about="The share of the variance of log(1 + target) that the model explains: 1 without errors.",
    function=_r2_log,
)
MDAPE = Metric(
    "mdape",
    greater_is_better=False,
    title="Median error in per cent",
    about="Half of the predictions are closer to the true value than this share of it.",
    shown="share",
    function=_mdape,
)
# Binary.
ROC_AUC = Metric(
    "roc_auc",
    greater_is_better=True,
    title="Area under the ROC curve",
    about="How often a true row has a higher probability than a false one: 1 is always, 0.5 is chance.",
    gate=("brier", 0.02),
    function=_roc_auc,
)
F1 = Metric(
    "f1",
    greater_is_better=True,
    title="F1",
    about="The harmonic mean of precision and recall: 1 when both are perfect.",
    function=_f1,
)
PRECISION = Metric(
    "precision",
    greater_is_better=True,
    title="Precision",
    about="The share of the rows predicted as true that are true.",
    shown="share",
    function=_precision,
)
RECALL = Metric(
    "recall",
    greater_is_better=True,
    title="Recall",
    about="The share of the true rows that are predicted as true.",
    shown="share",
    function=_recall,
)
# Both kinds of classification.
BRIER = Metric(
    "brier",
    greater_is_better=False,
    title="Brier score",
    about="The mean squared error of the probabilities: 0 is perfect.",
    function=_brier,
)
ACCURACY = Metric(
    "accuracy",
    greater_is_better=True,
    title="Accuracy",
    about="The share of right answers.",
    shown="share",
    function=_accuracy,
)
LOG_LOSS = Metric(
    "log_loss",
    greater_is_better=False,
    title="Log loss",
    about="The mean of -log of the probability of the true class: 0 is perfect, and to be surely wrong is costly.",
    function=_log_loss,
)
# Multiclass.
F1_MACRO = Metric(
    "f1_macro",
    greater_is_better=True,
    title="Mean F1 of the classes",
    about="F1 of each class, averaged, so that a rare class counts as much as a frequent one.",
    function=_f1_macro,
)

OF_TASK: dict[Task, tuple[Metric, ...]] = {
    "regression": (RMSE, MAE, MAPE, R2, RMSE_LOG, R2_LOG, MDAPE),
    "binary": (ROC_AUC, BRIER, ACCURACY, F1, PRECISION, RECALL, LOG_LOSS),
    "multiclass": (ACCURACY, F1_MACRO, BRIER, LOG_LOSS),
}
METRICS: dict[str, Metric] = {metric.name: metric for metrics in OF_TASK.values() for metric in metrics}
