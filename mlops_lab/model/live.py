"""Live scores: the use case's metric on labelled predictions, and whether a challenger is worse there."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.data.predictions import Labelled
from mlops_lab.metrics import METRICS
from mlops_lab.model.bootstrap import resample

# With fewer labelled predictions, a live score is mostly chance.
MIN_LABELLED = 100
# The fraction of the resamples that must agree: a few odd rows are no reason to train or to refuse.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Live:
    """What one version predicted, with the ground truth. A classifier is scored by its own threshold."""

    contract: Contract
    rows: Sequence[Labelled]

    @cached_property
    def truth(self) -> np.ndarray:
        """As a metric takes it, (n,)."""
        return self.contract.encode_target(row.actual for row in self.rows)

    @cached_property
    def output(self) -> np.ndarray:
        """The outputs of the graph, (n,) or (n, classes)."""
        if self.contract.task == "regression":
            return np.array([row.prediction for row in self.rows], dtype=np.float64)
        classes = self.contract.classes
        output = [[(row.probabilities or {})[name] for name in classes] for row in self.rows]
        return np.array(output, dtype=np.float64).reshape(len(self.rows), len(classes))

    @property
    def score(self) -> float | None:
        """None with too few rows, or where the metric isn't defined."""
        if len(self.rows) < MIN_LABELLED:
            return None
        score = self.score_of(np.arange(len(self.rows)))
        return None if np.isnan(score) else score

    def score_of(self, picked: np.ndarray) -> float:
        """Of these rows; NaN where it isn't defined."""
        metric = METRICS[self.contract.metric]
        return metric(self.truth[picked], self.output[picked], self.contract.threshold)


def error(contract: Contract, score: float) -> float:
    """A score of the contract's metric as an error: 1 - metric where greater is better."""
    return 1 - score if contract.greater_is_better else score


def worse_than_test(served: Live, increase: float) -> bool:
    """Whether the live error is above the test error by this relative increase, in nearly every resample."""
    contract, test = served.contract, served.contract.test_score
    if served.score is None or test is None:
        return False
    scores = resample([row.group for row in served.rows], served.score_of)
    above = [error(contract, value) > (1 + increase) * error(contract, test) for value in scores]
    return bool(above) and float(np.mean(above)) >= CONFIDENCE


@dataclass(frozen=True)
class LiveComparison:
    """Challenger against champion on labelled predictions.

    arm: shadow (both predicted the same rows) or canary (each its own, at the same time).
    worse: the challenger's score is below the champion's in nearly every resample.
    """

    arm: str
    metric: str
    challenger_score: float
    champion_score: float
    challenger_rows: int
    champion_rows: int
    worse: bool

    def __str__(self) -> str:
        rows = (
            f"the same {self.challenger_rows:,}"
            if self.arm == "shadow"
            else f"{self.challenger_rows:,} and {self.champion_rows:,}"
        )
        scores = f"{self.metric} {self.challenger_score:.4g} against {self.champion_score:.4g}"
        return f"live as {self.arm} {scores} on {rows} labelled predictions"


def compare_live(arm: str, challenger: Live, champion: Live) -> LiveComparison | None:
    """None when an arm has too few labelled predictions to say anything.

    The groups of both arms are drawn together. Rows that both predicted have the same group, so they stay a pair.
    """
    new, old, n = challenger.score, champion.score, len(challenger.rows)
    if new is None or old is None:
        return None
    metric = METRICS[challenger.contract.metric]

    def gain(picked: np.ndarray) -> float:
        by_challenger, by_champion = picked[picked < n], picked[picked >= n] - n
        return metric.sign * (challenger.score_of(by_challenger) - champion.score_of(by_champion))

    gains = resample([row.group for row in (*challenger.rows, *champion.rows)], gain)
    worse = len(gains) > 0 and float(np.mean(gains < 0)) >= CONFIDENCE
    return LiveComparison(arm, metric.name, new, old, n, len(champion.rows), worse)
