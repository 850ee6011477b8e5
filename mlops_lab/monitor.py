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
from mlops_lab.data.tables import Check
from mlops_lab.errors import ContractError, LabError
from mlops_lab.lab import Lab
from mlops_lab.metrics import METRICS
from mlops_lab.model.bootstrap import resample
from mlops_lab.model.drift import feature_drift, histogram
from mlops_lab.model.figures import draw_drift
from mlops_lab.model.registry import Version
from mlops_lab.model.tags import MonitoringTags
from mlops_lab.steps.ingest import newest
from mlops_lab.use_case import UseCase

# The newest predictions, and the newest labelled predictions, that are compared.
WINDOW = 5000
# With fewer labelled predictions, a live score is mostly chance.
MIN_LABELLED = 100
# The allowed relative increase of the live error over the test error.
MAX_ERROR_INCREASE = 0.25
# The fraction of the resamples that must be above that bound: a few odd rows are no reason to train.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class MonitoringResult:
    """The result of one comparison.

    rows:       the number of logged predictions that were compared with the training rows.
    drift:      population stability index by feature; empty below the contract's `min_drift_rows`.
    labelled:   the number of predictions of this version with a ground truth.
    live_score: the use case's metric on them; None when they are too few. test_score: on the test rows.
    passed:     whether a bound was passed. retrain: whether a training is requested, too.
    run_id:     the MLflow run with the report; None when nothing was served since the last comparison.
    """

    use_case: str
    version: int
    rows: int
    labelled: int
    metric: str
    live_score: float | None
    test_score: float | None
    passed: bool
    reason: str
    drift: dict[str, float]
    retrain: bool = False
    run_id: str | None = None


def monitor(lab: Lab, use_case: UseCase) -> MonitoringResult:
    """Compares the newest predictions and their ground truth with the champion, and stores report and result.

    A training is requested once for each batch: a second one would learn from the same rows.
    Raises `NoChampionError` when no champion is served yet.
    """
    lab.store.prepare_tables(use_case)
    champion = lab.champion(use_case.name)
    last = lab.ledger.last_check(use_case.name)
    unchanged = last and last.version == champion.version
    if last and unchanged and not lab.predictions.since(use_case.name, last.checked_at):
        return _unchanged(last)

    contract = lab.predictor(champion).contract
    matrix = _encoded(contract, lab.predictions.latest(use_case.name, WINDOW))
    labelled = lab.predictions.labelled(use_case.name, champion.version, WINDOW)
    result = _compare(contract, champion.version, matrix, labelled)
    if result.passed:
        result = _request(lab, use_case, result)
    result = replace(result, run_id=_report(lab, champion, contract, matrix, result))
    _record(lab, result)
    lab.progress(f"{use_case.name}: {result.reason}")
    return result


def _unchanged(last: Check) -> MonitoringResult:
    return MonitoringResult(
        use_case=last.use_case,
        version=last.version,
        rows=last.rows,
        labelled=last.answered,
        metric=last.metric,
        live_score=last.live_score,
        test_score=last.test_score,
        passed=last.passed,
        reason="nothing was served since the last check",
        drift={},
    )


def _compare(
    contract: Contract, version: int, matrix: np.ndarray, labelled: Sequence[Labelled]
) -> MonitoringResult:
    policy = contract.retrain
    drift = feature_drift(contract, matrix) if len(matrix) >= policy.min_drift_rows else {}
    test = contract.metrics.get("test", {}).get(contract.metric)
    truth, output = _outcomes(contract, labelled)
    live = _score(contract, truth, output) if len(truth) >= MIN_LABELLED else None

    reasons = []
    if drift and drift[worst := _worst(drift)] > policy.psi:
        rows = f"{len(matrix):,} rows"
        reasons.append(
            f"{worst} has drifted in the served rows (PSI {drift[worst]:.2f} > {policy.psi}, {rows})"
        )
    if live is not None and test is not None and _worse(contract, truth, output, labelled, test):
        reasons.append(
            f"{contract.metric} is {live:.4g} on {len(truth):,} labelled predictions, {test:.4g} on test rows"
        )
    few = "" if drift else f"; drift is computed from {policy.min_drift_rows} rows on"
    stable = f"no bound is passed ({len(matrix):,} predictions, {len(truth):,} with ground truth{few})"
    return MonitoringResult(
        use_case=contract.use_case,
        version=version,
        rows=len(matrix),
        labelled=len(truth),
        metric=contract.metric,
        live_score=live,
        test_score=test,
        passed=bool(reasons),
        reason="; ".join(reasons) or stable,
        drift=drift,
    )


def _request(lab: Lab, use_case: UseCase, result: MonitoringResult) -> MonitoringResult:
    """Requests a training, unless there is no batch, or one was requested since the newest batch."""
    try:
        batch = newest(lab, use_case)
    except LabError:
        return replace(result, reason=f"{result.reason}; there is no batch to train on")
    asked = lab.ledger.last_check(use_case.name, asked=True)
    if asked is not None and asked.batch_id == batch.id:
        before = f"a training was requested at {asked.checked_at:%Y-%m-%d %H:%M} UTC, no batch came since"
        return replace(result, reason=f"{result.reason}; {before}")
    return replace(result, retrain=True)


def _encoded(contract: Contract, logged: list[dict[str, Any]]) -> np.ndarray:
    """Logged rows as the model's input. Rows of an earlier version that this one refuses are left out."""
    try:
        typed = contract.read(logged)
    except ContractError as error:
        refused = {problem["row"] for problem in error.problems}
        typed = contract.read([row for index, row in enumerate(logged) if index not in refused])
    return contract.encode(typed)


def _outcomes(contract: Contract, labelled: Sequence[Labelled]) -> tuple[np.ndarray, np.ndarray]:
    """(ground truth, outputs of the graph) as a metric takes them."""
    truth = contract.encode_target(row.actual for row in labelled)
    if contract.task == "regression":
        return truth, np.array([row.prediction for row in labelled], dtype=np.float64)
    output = [[(row.probabilities or {})[name] for name in contract.classes] for row in labelled]
    return truth, np.array(output, dtype=np.float64).reshape(len(labelled), len(contract.classes))


def _score(contract: Contract, truth: np.ndarray, output: np.ndarray) -> float | None:
    score = METRICS[contract.metric](truth, output, contract.threshold)
    return None if np.isnan(score) else score


def _worse(
    contract: Contract, truth: np.ndarray, output: np.ndarray, labelled: Sequence[Labelled], test: float
) -> bool:
    """Whether the error is above its bound in nearly every resample.

    For a metric where greater is better, the error is 1 − metric.
    """

    def error(score: float) -> float:
        return 1 - score if contract.greater_is_better else score

    def score(picked: np.ndarray) -> float:
        return METRICS[contract.metric](truth[picked], output[picked], contract.threshold)

    scores = resample([row.group for row in labelled], score)
    above = [error(value) > (1 + MAX_ERROR_INCREASE) * error(test) for value in scores]
    return bool(above) and float(np.mean(above)) >= CONFIDENCE


def _worst(drift: dict[str, float]) -> str:
    return max(drift, key=lambda name: drift[name])


def _report(
    lab: Lab, champion: Version, contract: Contract, matrix: np.ndarray, result: MonitoringResult
) -> str:
    """Writes a run with metrics, `report.json` and `drift.png`; returns its id."""
    name = f"monitoring-{now():%Y-%m-%d-%H%M}"
    run = lab.tracking.start(champion.use_case, name, MonitoringTags(version=champion.version))
    metrics: dict[str, float | None] = {f"psi.{name}": value for name, value in result.drift.items()}
    metrics |= {
        "predictions": result.rows,
        "labelled": result.labelled,
        "psi_max": max(result.drift.values(), default=None),
        f"live.{result.metric}": result.live_score,
        f"test.{result.metric}": result.test_score,
    }
    outcome = "retrain" if result.retrain else "bound passed" if result.passed else "stable"
    tags = MonitoringTags(outcome=outcome, outcome_reason=result.reason)
    lab.tracking.log(run, metrics=metrics, tags=tags)
    shares = {name: _shares(contract, matrix, name) for name in result.drift}
    report = asdict(result) | {"run_id": run, "champion_run": champion.run_id, "features": shares}
    lab.tracking.log_json(run, "report.json", report)
    if result.drift:
        with tempfile.TemporaryDirectory() as folder:
            draw_drift(contract, result.drift, shares, result.rows, Path(folder))
            lab.tracking.log_folder(run, Path(folder), "plots")
    lab.tracking.end(run)
    return run


def _shares(contract: Contract, matrix: np.ndarray, name: str) -> dict[str, list[float]]:
    """A feature's bins, with the fractions of the training rows and of the served rows."""
    index = [feature.name for feature in contract.features].index(name)
    known = contract.reference[name]
    counts = histogram(known, matrix[:, index])
    served = (counts / max(counts.sum(), 1)).tolist()
    return {"edges": known.edges, "training": known.shares, "served": served}


def _record(lab: Lab, result: MonitoringResult) -> None:
    worst = _worst(result.drift) if result.drift else None
    batches = lab.ledger.batches(result.use_case)
    lab.ledger.put_check(
        Check(
            use_case=result.use_case,
            version=result.version,
            rows=result.rows,
            psi=result.drift[worst] if worst else None,
            feature=worst,
            answered=result.labelled,
            metric=result.metric,
            live_score=result.live_score,
            test_score=result.test_score,
            passed=result.passed,
            retrain=result.retrain,
            reason=result.reason,
            batch_id=batches[-1].id if batches else None,
            mlflow_run=result.run_id,
        )
    )
