"""The retrain rule: whether a batch leads to a training, and why."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.data.split import SPLITS
from mlops_lab.data.states import UNFINISHED
from mlops_lab.data.tables import Batch
from mlops_lab.features import Category
from mlops_lab.lab import Lab
from mlops_lab.model.compare import unscorable
from mlops_lab.model.drift import distributions, feature_drift
from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.interval import coverage
from mlops_lab.model.live import Live, worse_than_test
from mlops_lab.model.new_categories import frequent_new, named
from mlops_lab.model.new_error import error_on_new
from mlops_lab.model.predicted import predicted
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.registry import CHAMPION, Version
from mlops_lab.model.tags import DRIFT_FILE, BatchTags
from mlops_lab.steps.live import WINDOW
from mlops_lab.steps.stopwatch import timed
from mlops_lab.use_case import UseCase

# New values of a category that are kept, the most frequent first, and characters of each.
MOST_VALUES, MAX_VALUE = 20, 100


@dataclass(frozen=True)
class Decision:
    """Whether to train, and why."""

    train: bool
    reason: str


@timed
def decide(
    lab: Lab, use_case: UseCase, batch_id: int, force: bool = False, why: str = "requested by hand"
) -> Decision:
    """Whether this batch leads to a training, by the use case's policy; `force`: it does, for the reason `why`.

    A run that continues a killed one keeps its decision. A later skip doesn't replace the decision of a training.
    """
    batch = lab.ledger.batch(batch_id)
    metrics: dict[str, float] = {}
    evidence: dict[str, Any] = {}
    if force:
        decision = Decision(True, why)
    elif batch.decision and batch.state in UNFINISHED:
        decision = Decision(batch.decision == "train", batch.reason or "")
    else:
        decision = _by_policy(lab, use_case, batch, metrics, evidence)
    word = "train" if decision.train else "skip"
    if not decision.train and batch.decision == "train":
        lab.progress(f"decision: {word}, {decision.reason}")
        return decision
    if evidence:
        # Before the decision, which a run that continues this one keeps.
        lab.tracking.log_json(batch.run, DRIFT_FILE, evidence)
    lab.ledger.note(batch_id, state="decided", decision=word, reason=decision.reason)
    tags = BatchTags(decision=word, reason=decision.reason)
    if not decision.train:
        tags = replace(tags, outcome="skipped", outcome_reason=decision.reason)
    lab.tracking.log(batch.run, metrics=metrics, tags=tags)
    lab.progress(f"decision: {word}, {decision.reason}")
    return decision


def _by_policy(
    lab: Lab, use_case: UseCase, batch: Batch, metrics: dict[str, float], evidence: dict[str, Any]
) -> Decision:
    """The decision; what it was based on is added to `metrics`, the distributions behind its drift to `evidence`."""
    if lab.store.count_clean(use_case) == 0:
        return Decision(False, "there is no clean row to train on")
    champion = lab.registry.by_alias(use_case.name, CHAMPION)
    served, fault = lab.predictor_or_fault(champion) if champion else (None, "there is no champion yet")
    if champion is None or served is None:
        lacking = _lacking(lab, use_case, batch)
        return Decision(False, lacking) if lacking else Decision(True, fault)
    contract = served.contract
    if contract.lineage is None:
        return Decision(True, f"version {champion.version} has no lineage")
    if gone := unscorable(use_case, contract):
        return Decision(True, gone)
    learnt, policy = contract.lineage.batches, use_case.retrain

    new, groups = lab.store.new_groups(use_case, batch.id, learnt)
    fresh = lab.snapshots.read(use_case, without=learnt)
    new_share = new / groups if groups else 0.0
    metrics |= {"new_share": new_share, "new_rows": len(fresh)}
    metrics |= _covered(use_case, served, fresh[fresh["batch_id"] == batch.id])
    reasons = []
    if groups and new_share >= policy.new_share:
        reasons.append(f"{new_share:.0%} of the batch's groups are new to the champion")
    if len(fresh) >= policy.min_new_rows:
        reasons.append(f"{len(fresh):,} new rows since the champion")
    # The champion's own contract, so that the monitor and the alert use the same bounds.
    if len(fresh) >= contract.retrain.min_drift_rows:
        evidence["version"] = champion.version
        reasons += _drift(use_case, contract, fresh, metrics, evidence)
        reasons += _new_categories(use_case, contract, fresh, metrics, evidence)
    reasons += _batch_error(lab, use_case, served, fresh[fresh["batch_id"] == batch.id], metrics)
    reasons += _live_error(lab, champion, contract, metrics)
    if reasons:
        return Decision(True, "; ".join(reasons))
    share = f"{new_share:.0%} of its groups are new" if groups else "no row could be stored"
    return Decision(False, f"{share}, {len(fresh):,} new rows since the champion, nothing drifted")


def _lacking(lab: Lab, use_case: UseCase, batch: Batch) -> str | None:
    """What the stored rows lack for a first champion, in words; None when they suffice."""
    found = lab.snapshots.targets_by_split(use_case, batch.id)
    empty = [split for split in SPLITS if split not in found]
    if empty:
        return f"there are no {' and no '.join(empty)} rows yet; it takes more data"
    rows, values = found["train"]
    if values < 2:
        return f"all {rows:,} training rows have the same {use_case.target.name} so far; it takes more data"
    return None


def _covered(use_case: UseCase, champion: Predictor, fresh: pd.DataFrame) -> dict[str, float]:
    """What the champion's intervals cover of the batch's new rows, before any model learns from them."""
    contract = champion.contract
    if contract.interval is None or fresh.empty:
        return {}
    truth = contract.encode_target(fresh[use_case.target.name])
    return coverage(contract, truth, predicted(champion, fresh)) | {"interval_level": contract.interval.level}


def _new_categories(
    use_case: UseCase,
    contract: Contract,
    fresh: pd.DataFrame,
    metrics: dict[str, float],
    evidence: dict[str, Any],
) -> list[str]:
    """Values that many of the new rows have, and that the champion has no code for."""
    new = frequent_new(contract, fresh, 0.0)
    shares = [share for values in new.values() for share in values.values()]
    labels = {f.name: f.label for f in contract.features if isinstance(f, Category)}
    evidence["new_values"] = {
        name: {labels[name](value)[:MAX_VALUE]: share for value, share in list(values.items())[:MOST_VALUES]}
        for name, values in new.items()
    }
    found = frequent_new(contract, fresh, use_case.retrain.new_category)
    count = sum(len(values) for values in found.values())
    metrics |= {"new_categories": count, "new_category_share": max(shares, default=0.0)}
    return [f"new values of a category are frequent: {named(found)}"] if found else []


def _batch_error(
    lab: Lab, use_case: UseCase, champion: Predictor, new: pd.DataFrame, metrics: dict[str, float]
) -> list[str]:
    """Test, then train: the champion's error on the batch's rows, before a model learns from them."""
    contract = champion.contract
    if contract.lineage is None or len(new) < contract.retrain.min_drift_rows:
        return []
    test = lab.snapshots.read(use_case, split="test", only=contract.lineage.batches)
    if len(test) < use_case.retrain.min_holdout:
        return []
    found = error_on_new(champion, new, test, use_case.retrain.batch_error)
    if found is None:
        return []
    low, high = found.interval
    name = found.metric
    metrics |= {f"new.{name}": found.score, f"test.{name}.low": low, f"test.{name}.high": high}
    return [f"the champion is worse on new rows: {found}"] if found.worse else []


def _live_error(lab: Lab, champion: Version, contract: Contract, metrics: dict[str, float]) -> list[str]:
    """The champion's error on predictions with a ground truth, by the rule of the monitoring check."""
    served = Live(
        contract, lab.predictions.labelled(champion.use_case, champion.version, champion.run_id, WINDOW)
    )
    if (score := served.score) is None:
        return []
    metrics |= {f"live.{contract.metric}": score, "live_labelled": len(served.rows)}
    if not worse_than_test(served, contract.retrain.live_error):
        return []
    return [
        f"the champion is worse with callers: {contract.metric} is {score:.4g} on {len(served.rows):,} "
        f"labelled predictions, {contract.test_score:.4g} on test rows"
    ]


def _drift(
    use_case: UseCase,
    contract: Contract,
    fresh: pd.DataFrame,
    metrics: dict[str, float],
    evidence: dict[str, Any],
) -> list[str]:
    """Which bounds of drift the clean rows pass, compared with the champion's training rows."""
    matrix = encode_frame(contract, fresh)
    drift = feature_drift(contract, matrix)
    evidence |= {"rows": len(fresh), "features": distributions(contract, matrix)}
    worst = max(drift, key=lambda name: drift[name])
    now = float(np.std(contract.encode_target(fresh[use_case.target.name])))
    before = contract.target_reference["std"]
    change = now / before - 1 if before else 0.0
    bound = contract.retrain.psi
    metrics |= {f"psi.{name}": value for name, value in drift.items()}
    metrics |= {"psi_max": drift[worst], "psi_bound": bound, "target_std_change": change}
    reasons = []
    if drift[worst] > bound:
        reasons.append(f"{worst} has drifted (PSI {drift[worst]:.2f} > {bound})")
    if abs(change) > use_case.retrain.target_std:
        reasons.append(f"the target's spread changed by {change:+.0%}")
    return reasons
