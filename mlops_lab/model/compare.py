"""Challenger against champion: both scored again, on the same test rows that are present now."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlops_lab.data.rows import rows
from mlops_lab.metrics import METRICS
from mlops_lab.model.predictor import Predictor
from mlops_lab.use_case import UseCase

RESAMPLES = 200


@dataclass(frozen=True)
class Verdict:
    """The outcome of one comparison, with its evidence.

    gain and interval: by how much the challenger is better (positive is better, whatever the metric), with the
    2.5 and 97.5 percentiles of a paired bootstrap over the hold-out (Efron & Tibshirani, 1993).
    """

    promoted: bool
    reason: str
    metric: str
    challenger_score: float
    champion_score: float | None
    interval: tuple[float, float] | None
    holdout_rows: int
    holdout_digest: str


def judge(
    use_case: UseCase, challenger: Predictor, champion: Predictor | None, holdout: pd.DataFrame
) -> Verdict:
    """Better or equal wins. A first champion needs no rival; a small hold-out promotes nothing else.

    holdout: test rows of CleanData, with features, target and row_hash.
    """
    chosen = use_case.metric
    n, digest = len(holdout), _digest(holdout)
    truth = challenger.contract.encode_target(holdout[use_case.target.name])
    new = _output(challenger, holdout)
    new_score = chosen(truth, new) if n else float("nan")

    def verdict(promoted: bool, reason: str, old_score=None, interval=None) -> Verdict:
        return Verdict(promoted, reason, chosen.name, new_score, old_score, interval, n, digest)

    if champion is None:
        scored = f"{chosen.name} {new_score:.4g} on {n} test rows" if n else "there are no test rows yet"
        return verdict(True, f"first champion, {scored}")
    if n < use_case.retrain.min_holdout:
        return verdict(
            False, f"only {n} test rows; {use_case.retrain.min_holdout} are needed to replace a champion"
        )

    old = _output(champion, holdout)
    old_score = chosen(truth, old)
    interval = _interval(chosen, truth, new, old)
    scores = f"{chosen.name} {new_score:.4g} against {old_score:.4g} on the same {n} test rows"
    if chosen.gate:
        name, tolerance = chosen.gate
        new_gate, old_gate = METRICS[name](truth, new), METRICS[name](truth, old)
        floor = challenger.contract.baseline.get("test", {}).get(name, np.inf)
        if new_gate > min(old_gate + tolerance, floor):
            bound = (
                f"the champion's {old_gate:.4g}"
                if old_gate + tolerance <= floor
                else f"the naive {floor:.4g}"
            )
            return verdict(
                False, f"its {name} {new_gate:.4g} is worse than {bound} ({scores})", old_score, interval
            )
    better = chosen.sign * new_score >= chosen.sign * old_score
    word = "better or equal" if better else "not better"
    return verdict(better, f"{word}: {scores}", old_score, interval)


def _output(predictor: Predictor, frame: pd.DataFrame) -> np.ndarray:
    names = [feature.name for feature in predictor.contract.features]
    return predictor.run(predictor.contract.encode(rows(frame[names])))


def _interval(chosen, truth: np.ndarray, new: np.ndarray, old: np.ndarray) -> tuple[float, float]:
    random = np.random.default_rng(0)
    gains = []
    for _ in range(RESAMPLES):
        sample = random.integers(0, len(truth), len(truth))
        if chosen.name == "roc_auc" and len(np.unique(truth[sample])) < 2:
            continue  # a tiny hold-out may draw one class only, which has no AUC
        gain = chosen(truth[sample], new[sample]) - chosen(truth[sample], old[sample])
        gains.append(chosen.sign * gain)
    low, high = np.percentile(gains, [2.5, 97.5]) if gains else (float("nan"), float("nan"))
    return float(low), float(high)


def _digest(holdout: pd.DataFrame) -> str:
    """CleanData only grows, so the digest of the row hashes names the snapshot for good."""
    return hashlib.sha256("".join(sorted(holdout["row_hash"])).encode()).hexdigest()
