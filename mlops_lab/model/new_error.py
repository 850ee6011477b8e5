"""Test, then train: the champion's error on rows that it hasn't learnt from, against its error on its own test rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_lab.metrics import METRICS
from mlops_lab.model.bootstrap import resample
from mlops_lab.model.live import CONFIDENCE, error
from mlops_lab.model.predicted import predicted
from mlops_lab.model.predictor import Predictor

# Rows that are scored at most: more make the interval hardly narrower, and the bootstrap slow.
MOST = 20_000


@dataclass(frozen=True)
class NewError:
    """score: the metric on the new rows. interval: the 95 % bootstrap interval of the same on the champion's test rows.

    worse: in nearly every resample of the new rows, the error is above the greatest of the interval by the allowed
    increase.
    """

    metric: str
    score: float
    rows: int
    interval: tuple[float, float]
    test_rows: int
    worse: bool

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.metric} is {self.score:.4g} on the batch's {self.rows:,} new rows, "
            f"{low:.4g} to {high:.4g} on {self.test_rows:,} test rows"
        )


def error_on_new(
    champion: Predictor, new: pd.DataFrame, test: pd.DataFrame, increase: float
) -> NewError | None:
    """None when the metric isn't defined on one of both.

    new, test: clean rows, with features, target, row_hash and group_hash. increase: the allowed relative one.
    """
    scores_new, score, used = _scores(champion, new)
    scores_test, _, tested = _scores(champion, test)
    if not len(scores_new) or not len(scores_test) or not np.isfinite(score):
        return None
    contract = champion.contract
    low, high = (float(bound) for bound in np.percentile(scores_test, [2.5, 97.5]))
    bound = (1 + increase) * error(contract, low if contract.greater_is_better else high)
    worse = float(np.mean([error(contract, value) > bound for value in scores_new])) >= CONFIDENCE
    return NewError(contract.metric, score, used, (low, high), tested, worse)


def _scores(champion: Predictor, frame: pd.DataFrame) -> tuple[np.ndarray, float, int]:
    """The metric on the resamples of the rows, on the rows, and their number; a fixed choice of `MOST` of them."""
    frame = frame.sort_values("row_hash").head(MOST)
    contract, metric = champion.contract, METRICS[champion.contract.metric]
    if frame.empty:
        return np.empty(0), np.nan, 0
    output = predicted(champion, frame)
    truth = contract.encode_target(frame[contract.target.name])

    def score(picked: np.ndarray) -> float:
        return metric(truth[picked], output[picked], contract.threshold)

    return resample(frame["group_hash"].to_numpy(), score), score(np.arange(len(frame))), len(frame)
