"""The retrain rule: whether a batch leads to a training, and why."""

from dataclasses import dataclass, replace

import numpy as np

from mlops_lab.data.rows import rows
from mlops_lab.data.tables import Batch
from mlops_lab.lab import Lab
from mlops_lab.model.drift import feature_drift
from mlops_lab.model.registry import CHAMPION
from mlops_lab.model.tags import BatchTags
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Decision:
    """Whether to train, and why."""

    train: bool
    reason: str


def decide(
    lab: Lab, use_case: UseCase, batch_id: int, force: bool = False, why: str = "asked for by hand"
) -> Decision:
    """Whether this batch leads to a training, by the use case's policy; `force`: it does, for the reason `why`."""
    batch = lab.ledger.batch(batch_id)
    decision, metrics = (Decision(True, why), {}) if force else _decide(lab, use_case, batch)
    word = "train" if decision.train else "skip"
    lab.ledger.note(batch_id, state="decided", decision=word, reason=decision.reason)
    tags = BatchTags(decision=word, reason=decision.reason)
    if not decision.train:
        tags = replace(tags, outcome="skipped", outcome_reason=decision.reason)
    lab.tracking.log(batch.mlflow_run, metrics=metrics, tags=tags)
    lab.progress(f"decision: {word}, {decision.reason}")
    return decision


def _decide(lab: Lab, use_case: UseCase, batch: Batch) -> tuple[Decision, dict[str, float]]:
    total = lab.store.count_clean(use_case)
    champion = lab.registry.by_alias(use_case.name, CHAMPION)
    if total == 0:
        return Decision(False, "there is no clean row to learn from"), {}
    if champion is None:
        return Decision(True, "there is no champion yet"), {}
    contract = lab.predictor(champion).contract
    since = max(contract.lineage.batches)
    policy, bounds = use_case.retrain, contract.retrain

    new, groups = lab.store.new_groups(use_case, batch.id, since)
    fresh = lab.store.read_clean(use_case, after=since, until=batch.id)
    metrics: dict[str, float] = {"new_share": new / groups if groups else 0.0, "new_rows": len(fresh)}
    reasons = []
    if groups and metrics["new_share"] >= policy.new_share:
        reasons.append(f"{metrics['new_share']:.0%} of the batch's groups are new to the champion")
    if len(fresh) >= policy.min_new_rows:
        reasons.append(f"{len(fresh):,} new rows since the champion")
    if len(fresh) >= bounds.min_drift_rows:
        matrix = contract.encode(rows(fresh[[f.name for f in contract.features]]))
        drift = feature_drift(contract, matrix)
        worst = max(drift, key=drift.get)
        std, was = (
            float(np.std(contract.encode_target(fresh[use_case.target.name]))),
            contract.target_reference["std"],
        )
        change = std / was - 1 if was else 0.0
        metrics |= {f"psi.{name}": value for name, value in drift.items()}
        metrics |= {"psi_max": drift[worst], "psi_bound": bounds.psi, "target_std_change": change}
        if drift[worst] > bounds.psi:
            reasons.append(f"{worst} has drifted (PSI {drift[worst]:.2f} > {bounds.psi})")
        if abs(change) > policy.target_std:
            reasons.append(f"the target's spread changed by {change:+.0%}")
    if reasons:
        return Decision(True, "; ".join(reasons)), metrics
    share = f"{metrics['new_share']:.0%} of its groups are new" if groups else "no row could be stored"
    return Decision(False, f"{share}, {len(fresh):,} new rows since the champion, nothing drifted"), metrics
