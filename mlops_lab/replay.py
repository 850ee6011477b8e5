"""Past promotions under another policy, from the per-row scores that were kept; nothing is trained or scored again."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mlops_lab.contract import PromotionPolicy
from mlops_lab.data.tables import Promotion
from mlops_lab.data.waiting import answers
from mlops_lab.errors import LabError, ModelError, ServiceError
from mlops_lab.lab import Lab
from mlops_lab.metrics import OF_TASK, Metric
from mlops_lab.model.judge import judge
from mlops_lab.model.row_scores import RowScores
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Replayed:
    """One recorded decision, and what it would have been.

    was, would: promoted, refused or waiting for a person; would is None when nobody can tell.
    """

    sequence: int
    challenger: int
    champion: int | None
    was: str
    would: str | None
    reason: str


def policy_of(use_case: UseCase, changes: dict[str, Any]) -> PromotionPolicy:
    """The use case's policy with other values. Raises `LabError` when one isn't a field or not in its range."""
    try:
        policy = PromotionPolicy.model_validate(use_case.promotion.model_dump() | changes)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise LabError(f"the policy's {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    use_case.check_promotion(policy)
    return policy


def metric_of(use_case: UseCase, name: str | None) -> Metric:
    """A metric of the use case's task; its own by default. Raises `LabError`."""
    known = {metric.name: metric for metric in OF_TASK[use_case.task]}
    if name is not None and name not in known:
        raise LabError(f"{use_case.name} has no metric {name}; there are {', '.join(known)}")
    return use_case.metric if name is None else known[name]


def replay(lab: Lab, use_case: UseCase, policy: PromotionPolicy, metric: Metric) -> list[Replayed]:
    """Each decision on a challenger, oldest first; each against the champion that it met then.

    The answer to a decision that waited isn't one by a policy, so it is left out, unless a new comparison was made.
    """
    lab.store.create_tables()
    history = lab.ledger.promotions(use_case.name)
    given = {answer.sequence for asked, answer in answers(history) if answer.evidence == asked.evidence}
    return [
        _again(lab, row, policy, metric)
        for row in history
        if row.outcome != "rolled back" and row.sequence not in given
    ]


def _again(lab: Lab, row: Promotion, policy: PromotionPolicy, metric: Metric) -> Replayed:
    would, reason = _verdict(lab, row, policy, metric)
    return Replayed(row.sequence, row.challenger, row.champion, row.outcome, would, reason)


def _verdict(lab: Lab, row: Promotion, policy: PromotionPolicy, metric: Metric) -> tuple[str | None, str]:
    """(what the decision would have been, why); None with the reason when nobody can tell."""
    if row.evidence is None:
        reason = "no comparison was made, or it was made by an earlier release, which kept no per-row scores"
        return None, reason
    run, name = row.evidence.split("/", 1)
    try:
        scores = RowScores.from_parquet(lab.tracking.read_bytes(run, name))
    except (ModelError, ServiceError) as error:
        return None, str(error)
    if unknown := sorted(set(policy.slices) - set(scores.slices)):
        return None, f"its per-row scores have no slices by {', '.join(unknown)}"
    found = judge(policy, metric, scores)
    if (found.promoted or found.waiting) and scores.worse_live:
        return "refused", f"worse with callers: {scores.worse_live} ({found.reason})"
    return "promoted" if found.promoted else "waiting" if found.waiting else "refused", found.reason
