"""The rule by which a binary model's decision threshold is found."""

from dataclasses import dataclass

import numpy as np

from mlops_lab.errors import UseCaseError


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
