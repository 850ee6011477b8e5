"""Monitoring: recent predictions compared with the champion's training and test rows, and whether to train again."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.data.database import now
from mlops_lab.data.predictions import Labelled
from mlops_lab.data.tables import Check, LiveScore
from mlops_lab.errors import LabError, ServiceError
from mlops_lab.lab import Lab
from mlops_lab.model.drift import feature_drift, histogram
from mlops_lab.model.estimate import Estimated, estimate
from mlops_lab.model.figures import draw_drift
from mlops_lab.model.live import Live, worse_than_test
from mlops_lab.model.registry import Version
from mlops_lab.model.tags import MonitoringTags
from mlops_lab.steps.approve import apply_default
from mlops_lab.steps.ingest import newest
from mlops_lab.steps.live import WINDOW, live_scores
from mlops_lab.steps.notices import tell
from mlops_lab.steps.reconcile import reconcile
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class MonitoringResult:
    """The result of one comparison.

    check: the record that the ledger stores. When nothing was served since the last check, it is that one with another
           reason and without a run, and isn't stored again.
    drift: population stability index by feature; empty below the contract's `min_drift_rows`.
    live: the live score of each version, as the newest check stored them.
    """

    check: Check
    drift: dict[str, float]
    live: list[LiveScore]

    def as_json(self) -> dict[str, Any]:
        """The check's fields, `drift` and `live` in one object. The id is left out: it comes after the report."""
        fields = asdict(self.check) | {"checked_at": self.check.checked_at.isoformat(), "drift": self.drift}
        del fields["id"]
        names = ("version", "arm", "metric", "labelled", "score")
        return fields | {"live": [{name: getattr(score, name) for name in names} for score in self.live]}


def monitor(lab: Lab, use_case: UseCase) -> MonitoringResult:
    """Compares the newest predictions and their ground truth with the champion, and stores report and result.

    A training is requested once for each batch: a second one would use the same rows.
    Raises `NoChampionError` when no champion is served yet.
    """
    lab.store.prepare_tables(use_case)
    reconcile(lab, use_case)
    apply_default(lab, use_case)
    champion = lab.champion(use_case.name)
    last = lab.ledger.last_check(use_case.name)
    unchanged = last and last.version == champion.version
    if last and unchanged and not lab.predictions.since(use_case.name, last.checked_at):
        reason = "nothing was served since the last check"
        tell(lab, use_case.name)
        check = replace(last, reason=reason, retrain=False, run_id=None)
        return MonitoringResult(check, {}, lab.ledger.live_scores(use_case.name))

    predictor = lab.predictor(champion)
    contract = predictor.contract
    matrix = _encoded(contract, lab.predictions.latest(use_case.name, WINDOW))
    labelled = lab.predictions.labelled(use_case.name, champion.version, champion.run_id, WINDOW)
    expected = None
    if len(matrix) >= contract.retrain.min_drift_rows:
        expected = estimate(contract, matrix, predictor.run(matrix))
    check, drift = _compare(contract, champion.version, matrix, labelled, expected)
    result = MonitoringResult(check, drift, live_scores(lab, champion))
    batches = lab.ledger.batches(use_case.name)
    check.batch_id = batches[-1].id if batches else None
    if check.passed:
        obstacle = _obstacle(lab, use_case)
        check.retrain = obstacle is None
        check.reason += f"; {obstacle}" if obstacle else ""
    _report(lab, champion, contract, matrix, result)
    lab.ledger.put_live_scores(use_case.name, result.live)
    lab.ledger.put_check(check)
    lab.progress(f"{use_case.name}: {check.reason}")
    tell(lab, use_case.name)
    return result


def _compare(
    contract: Contract,
    version: int,
    matrix: np.ndarray,
    labelled: Sequence[Labelled],
    expected: Estimated | None,
) -> tuple[Check, dict[str, float]]:
    policy = contract.retrain
    drift = feature_drift(contract, matrix) if len(matrix) >= policy.min_drift_rows else {}
    worst = max(drift, key=lambda name: drift[name], default=None)
    test = contract.test_score
    served = Live(contract, labelled)
    live = served.score

    reasons = []
    if worst and drift[worst] > policy.psi:
        rows = f"{len(matrix):,} rows"
        reasons.append(
            f"{worst} has drifted in the served rows (PSI {drift[worst]:.2f} > {policy.psi}, {rows})"
        )
    if worse_than_test(served, policy.live_error):
        reasons.append(
            f"{contract.metric} is {live:.4g} on {len(labelled):,} labelled predictions, {test:.4g} on test rows"
        )
    few = "" if drift else f"; drift is computed from {policy.min_drift_rows} rows on"
    stable = f"no bound is passed ({len(matrix):,} predictions, {len(labelled):,} with ground truth{few})"
    check = Check(
        use_case=contract.use_case,
        version=version,
        rows=len(matrix),
        psi=drift[worst] if worst else None,
        feature=worst,
        labelled=len(labelled),
        metric=contract.metric,
        live_score=live,
        test_score=test,
        passed=bool(reasons),
        reason="; ".join(reasons) or stable,
    )
    # It is no reason to train: nothing new can be learnt before the ground truth comes.
    if expected:
        check.estimated_score, check.estimated_worse = expected.score, expected.worse
        check.estimated_low, check.estimated_high = expected.interval
        check.test_low, check.test_high = expected.test_interval
    return check, drift


def _obstacle(lab: Lab, use_case: UseCase) -> str | None:
    """The reason why no training is requested: there is no batch, or one was requested since the newest batch."""
    try:
        batch = newest(lab, use_case)
    except ServiceError:
        raise
    except LabError:
        return "there is no batch to train on"
    asked = lab.ledger.last_check(use_case.name, asked=True)
    if asked is not None and asked.batch_id == batch.id:
        return f"a training was requested at {asked.checked_at:%Y-%m-%d %H:%M} UTC, no batch came since"
    return None


def _encoded(contract: Contract, logged: list[dict[str, Any]]) -> np.ndarray:
    """Logged rows as the model's input. Rows of an earlier version that this one refuses are left out."""
    return contract.encode(contract.read_valid(logged))


def _report(
    lab: Lab, champion: Version, contract: Contract, matrix: np.ndarray, result: MonitoringResult
) -> None:
    """Writes a run with metrics, `report.json` and `drift.png`, and its id into the check."""
    check, drift = result.check, result.drift
    name = f"monitoring-{now():%Y-%m-%d-%H%M}"
    run = lab.tracking.start(champion.use_case, name, MonitoringTags(version=champion.version))
    check.run_id = run
    metrics: dict[str, float | None] = {f"psi.{name}": value for name, value in drift.items()}
    metrics |= {f"live.{score.metric}.{score.arm}.{score.version}": score.score for score in result.live}
    metrics |= {
        "predictions": check.rows,
        "labelled": check.labelled,
        "psi_max": check.psi,
        f"live.{check.metric}": check.live_score,
        f"test.{check.metric}": check.test_score,
        f"test.{check.metric}.low": check.test_low,
        f"test.{check.metric}.high": check.test_high,
        f"estimated.{check.metric}": check.estimated_score,
        f"estimated.{check.metric}.low": check.estimated_low,
        f"estimated.{check.metric}.high": check.estimated_high,
    }
    outcome = "retrain" if check.retrain else "bound passed" if check.passed else "stable"
    tags = MonitoringTags(outcome=outcome, outcome_reason=check.reason)
    lab.tracking.log(run, metrics=metrics, tags=tags)
    shares = {name: _shares(contract, matrix, name) for name in drift}
    report = result.as_json() | {"champion_run": champion.run_id, "features": shares}
    lab.tracking.log_json(run, "report.json", report)
    if drift:
        with tempfile.TemporaryDirectory() as folder:
            draw_drift(contract, drift, shares, check.rows, Path(folder))
            lab.tracking.log_folder(run, Path(folder), "plots")
    lab.tracking.end(run)


def _shares(contract: Contract, matrix: np.ndarray, name: str) -> dict[str, list[float]]:
    """A feature's bins, with the fractions of the training rows and of the served rows."""
    index = [feature.name for feature in contract.features].index(name)
    known = contract.reference[name]
    counts = histogram(known, matrix[:, index])
    served = (counts / max(counts.sum(), 1)).tolist()
    return {"edges": known.edges, "training": known.shares, "served": served}
