"""Challenger against champion: both are scored again, on the same test rows, those that are stored now."""

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.data.rows import texts
from mlops_lab.metrics import Metric
from mlops_lab.model.judge import judge
from mlops_lab.model.predicted import predicted
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.row_scores import RowScores
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Comparison:
    """The outcome of one comparison, with its evidence.

    challenger_score to waiting: as in `Verdict`; None without a champion to compare with.
    holdout_digest: identifies the test rows. No row of CleanData is removed, so it stays valid.
    rows: what both models predicted; None when nothing was compared.
    """

    promoted: bool
    reason: str
    metric: str
    challenger_score: float | None
    champion_score: float | None
    gain: float | None
    interval: tuple[float, float] | None
    sureness: float | None
    holdout_rows: int
    holdout_digest: str
    waiting: bool = False
    rows: RowScores | None = field(default=None, repr=False)


def compare(
    use_case: UseCase, challenger: Predictor, champion: Predictor | None, holdout: pd.DataFrame
) -> Comparison:
    """Whether the challenger replaces the champion, by the use case's promotion policy.

    The first champion is promoted without a comparison, on one test row or more, and so is the successor of one that
    can't be scored on today's rows. Later ones need `min_holdout`.
    A classifier predicts by the threshold of its own contract.

    holdout: test rows of CleanData, with features, target, row_hash and group_hash.
    """
    metric, n = use_case.metric, len(holdout)
    truth = challenger.contract.encode_target(holdout[use_case.target.name])
    new = predicted(challenger, holdout) if n else np.empty(0)
    score = metric(truth, new, challenger.contract.threshold)
    score = score if np.isfinite(score) else None
    found = Comparison(False, "", metric.name, score, None, None, None, None, n, _digest(holdout))
    fault = unscorable(use_case, champion.contract) if champion else ""
    if champion is None or fault:
        first = _first(found, metric, score, n)
        return replace(first, reason=f"{fault}; therefore no comparison: {first.reason}") if fault else first
    if n < use_case.retrain.min_holdout:
        needed = use_case.retrain.min_holdout
        return replace(found, reason=f"only {n} test rows; {needed} are needed to replace a champion")

    row_scores = RowScores(
        truth=truth,
        challenger=new,
        champion=predicted(champion, holdout),
        groups=np.unique(holdout["group_hash"].to_numpy(), return_inverse=True)[1],
        slices={name: texts(holdout[name]) for name in use_case.promotion.slices},
        thresholds=(challenger.contract.threshold, champion.contract.threshold),
        baseline=challenger.contract.baseline.get("test", {}),
    )
    return replace(found, **vars(judge(use_case.promotion, metric, row_scores)), rows=row_scores)


def _first(found: Comparison, metric: Metric, score: float | None, n: int) -> Comparison:
    """The outcome without a champion to compare with."""
    if not n:
        return replace(
            found, reason="there are no test rows yet, so its error is unknown; it takes more data"
        )
    said = f"{metric.name} isn't defined" if score is None else f"{metric.name} {score:.4g}"
    return replace(found, promoted=True, reason=f"first champion, {said} on {n} test rows")


def unscorable(use_case: UseCase, champion: Contract) -> str:
    """Why the champion can't be scored on the use case's rows, in words; empty when it can."""
    if (champion.task, champion.classes) != (use_case.task, list(use_case.classes)):
        return "the champion can't be scored any more: it predicts other classes or another kind of target"
    if gone := {f.name for f in champion.features} - {f.name for f in use_case.features}:
        columns = ", ".join(sorted(gone))
        return f"the champion can't be scored any more: {use_case.name} doesn't declare its columns {columns}"
    return ""


def _digest(holdout: pd.DataFrame) -> str:
    return hashlib.sha256("".join(sorted(holdout["row_hash"])).encode()).hexdigest()
