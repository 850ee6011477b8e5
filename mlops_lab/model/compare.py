"""Challenger against champion: both are scored again, on the same test rows, those that are stored now."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mlops_lab.data.rows import rows
from mlops_lab.metrics import METRICS, Metric
from mlops_lab.model.bootstrap import resample
from mlops_lab.model.predictor import Predictor
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Comparison:
    """The outcome of one comparison, with its evidence.

    challenger_score, champion_score: the use case's metric on the test rows; None where it isn't defined.
    interval: by how much the challenger is better (positive is better, for every metric): the 2.5 and 97.5 percentiles
              of a paired bootstrap over the groups of the test rows (Efron and Tibshirani, An introduction to the
              bootstrap, 1993).
    holdout_digest: identifies the test rows. No row of CleanData is removed, so it stays valid.
    """

    promoted: bool
    reason: str
    metric: str
    challenger_score: float | None
    champion_score: float | None
    interval: tuple[float, float] | None
    holdout_rows: int
    holdout_digest: str


def compare(
    use_case: UseCase, challenger: Predictor, champion: Predictor | None, holdout: pd.DataFrame
) -> Comparison:
    """Whether the challenger replaces the champion: it does when it is better or equal.

    The first champion is promoted without a comparison, on one test row or more. Later ones need `min_holdout`.
    A classifier predicts by the threshold of its own contract.

    holdout: test rows of CleanData, with features, target, row_hash and group_hash.
    """
    metric, n = use_case.metric, len(holdout)
    truth = challenger.contract.encode_target(holdout[use_case.target.name])
    new = _output(challenger, holdout) if n else np.empty(0)
    by_challenger = challenger.contract.threshold
    new_score = _defined(metric(truth, new, by_challenger))
    found = Comparison(False, "", metric.name, new_score, None, None, n, _digest(holdout))
    if champion is None and not n:
        return replace(
            found, reason="there are no test rows yet, so its error is unknown; it takes more data"
        )
    if champion is None:
        return replace(found, promoted=True, reason=f"first champion, {_first(metric, new_score, n)}")
    if n < use_case.retrain.min_holdout:
        needed = use_case.retrain.min_holdout
        return replace(found, reason=f"only {n} test rows; {needed} are needed to replace a champion")

    old = _output(champion, holdout)
    by_champion = champion.contract.threshold
    old_score = _defined(metric(truth, old, by_champion))
    if new_score is None or old_score is None:
        return replace(
            found, reason=f"{metric.name} isn't defined on the {n} test rows, so nothing is compared"
        )

    def gain(picked: np.ndarray) -> float:
        challengers = metric(truth[picked], new[picked], by_challenger)
        return metric.sign * (challengers - metric(truth[picked], old[picked], by_champion))

    found = replace(found, champion_score=old_score, interval=_interval(gain, holdout["group_hash"]))
    scores = f"{metric.name} {new_score:.4g} against {old_score:.4g} on the same {n} test rows"
    floor = challenger.contract.baseline.get("test", {})
    if worse := _worse_by_the_gate(metric, truth, new, old, floor):
        return replace(found, reason=f"{worse} ({scores})")
    better = metric.sign * new_score >= metric.sign * old_score
    return replace(
        found, promoted=better, reason=f"{'better or equal' if better else 'not better'}: {scores}"
    )


def _first(metric: Metric, score: float | None, n: int) -> str:
    return (
        f"{metric.name} isn't defined on {n} test rows"
        if score is None
        else f"{metric.name} {score:.4g} on {n} test rows"
    )


def _worse_by_the_gate(
    metric: Metric, truth: np.ndarray, new: np.ndarray, old: np.ndarray, baseline: dict[str, float]
) -> str | None:
    """The reason why the metric's gate refuses the challenger; None when it passes, or when there is no gate."""
    if metric.gate is None:
        return None
    name, tolerance = metric.gate
    score, champion, floor = METRICS[name](truth, new), METRICS[name](truth, old), baseline.get(name, np.inf)
    if score <= min(champion + tolerance, floor):
        return None
    bound = f"the champion's {champion:.4g}" if champion + tolerance <= floor else f"the naive {floor:.4g}"
    return f"its {name} {score:.4g} is worse than {bound}"


def _interval(gain: Callable[[np.ndarray], float], groups: pd.Series) -> tuple[float, float] | None:
    gains = resample(groups.to_numpy(), gain)
    if not len(gains):
        return None
    low, high = np.percentile(gains, [2.5, 97.5])
    return float(low), float(high)


def _output(predictor: Predictor, frame: pd.DataFrame) -> np.ndarray:
    names = [feature.name for feature in predictor.contract.features]
    return predictor.run(predictor.contract.encode(rows(pd.DataFrame(frame, columns=names))))


def _defined(score: float) -> float | None:
    return score if np.isfinite(score) else None


def _digest(holdout: pd.DataFrame) -> str:
    return hashlib.sha256("".join(sorted(holdout["row_hash"])).encode()).hexdigest()
