"""Calibration of a classifier's probabilities, as two arrays that become the last step of its graph.

Of rows with a probability of 30 %, 30 % should be true. The step is a linear one on the logarithms of the
probabilities, then softmax. Binary: Platt scaling of the log odds (Platt, Probabilistic outputs for support vector
machines, 1999). Multiclass: one temperature (Guo et al., On calibration of modern neural networks, 2017).
"""

from dataclasses import dataclass

import numpy as np

# Probabilities are clipped to this distance from 0 and 1 before the logarithm. The graph's numbers are float32, so
# 1 - 0.999999 has two digits left, and the graph would order such rows in another way than the pipeline.
EDGE = 1e-4
FOLDS = 5
# The exponential of this number is 0.
NEVER = -1e9
# Rows below which nothing is fitted: the comparison out of fold would be chance.
MIN_ROWS = 200


@dataclass(frozen=True)
class Calibration:
    """softmax(log(clipped p) @ weights + bias). weights: (classes, classes); bias: (classes,)."""

    weights: np.ndarray
    bias: np.ndarray

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """The calibrated probabilities, float64 (n, classes); each row sums to 1."""
        from scipy.special import softmax

        return softmax(_logs(probabilities) @ self.weights + self.bias, axis=1)

    def __str__(self) -> str:
        if len(self.bias) > 2:
            return f"temperature {1 / self.weights[0, 0]:.3g}"
        return f"log odds × {self.weights[1, 1]:.3g} {self.bias[1]:+.3g}"


def calibrate(probabilities: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Calibration | None:
    """The step that is fitted on these rows; None when it doesn't help, or when there are too few rows.

    probabilities: (n, classes) of rows that the model didn't learn from; truth: the class of each, an index, (n,);
    groups: the group of each row, (n,).
    It helps when both log loss and Brier score are smaller out of fold, with the rows of a group in one fold.
    """
    from sklearn.model_selection import GroupKFold

    truth = truth.astype(int)
    if len(truth) < MIN_ROWS or len(np.unique(groups)) < FOLDS or len(np.unique(truth)) < 2:
        return None
    out = np.empty_like(probabilities, dtype=np.float64)
    for rest, fold in GroupKFold(FOLDS).split(probabilities, truth, groups):
        if len(np.unique(truth[rest])) < 2:
            return None
        out[fold] = _fit(probabilities[rest], truth[rest])(probabilities[fold])
    before, after = _losses(probabilities, truth), _losses(out, truth)
    if not all(new < old for new, old in zip(after, before, strict=True)):
        return None
    found = _fit(probabilities, truth)
    # A negative slope would turn the order of the rows round.
    return found if found.weights[1, 1] > 0 else None


def _fit(probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
    logs = _logs(probabilities)
    classes = probabilities.shape[1]
    if classes == 2:
        from sklearn.linear_model import LogisticRegression

        odds = logs[:, [1]] - logs[:, [0]]
        found = LogisticRegression(C=np.inf).fit(odds, truth)
        slope, bias = float(found.coef_[0, 0]), float(found.intercept_[0])
        return Calibration(np.array([[0.0, -slope], [0.0, slope]]), np.array([0.0, bias]))
    from scipy.optimize import minimize_scalar

    # A class that the training rows don't have keeps the probability 0.
    bias = np.where(probabilities.max(axis=0) > 0, 0.0, NEVER)

    def loss(inverse: float) -> float:
        return _losses(Calibration(inverse * np.eye(classes), bias)(probabilities), truth)[0]

    inverse = float(minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x)
    return Calibration(inverse * np.eye(classes), bias)


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.clip(probabilities, EDGE, 1 - EDGE))


def _losses(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """(log loss, Brier score over all classes)."""
    rows = np.arange(len(truth))
    chosen = np.maximum(probabilities[rows, truth], EDGE)
    wrong = probabilities - np.eye(probabilities.shape[1])[truth]
    return float(-np.log(chosen).mean()), float((wrong**2).sum(axis=1).mean())
