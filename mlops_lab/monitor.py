"""Monitoring: what was served compared with what the champion learnt from, and whether to train again."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlops_lab.contract import Contract, RetrainPolicy
from mlops_lab.data.database import now
from mlops_lab.data.tables import Check
from mlops_lab.errors import ContractError, LabError, NoChampionError
from mlops_lab.lab import Lab
from mlops_lab.metrics import METRICS
from mlops_lab.model.drift import histogram, psi
from mlops_lab.model.registry import CHAMPION, Version
from mlops_lab.model.tags import MonitoringTags
from mlops_lab.steps.ingest import newest
from mlops_lab.use_case import UseCase

WINDOW = 5000  # predictions that are looked at, the newest ones
MOST_ANSWERED = 5000
ENOUGH_ANSWERED = 100  # true values below which a live score is chance
WORSE = 0.25  # the live error may be greater than that of the test rows by so much of it
RESAMPLES = 200
SURE = 0.95  # share of the resamples that must pass the bound: a few odd rows are no reason to train
SHOWN_FEATURES = 20


@dataclass(frozen=True)
class Finding:
    """What one look at a use case found.

    rows:       logged predictions that were compared with the training rows.
    drift:      population stability index by feature; empty below the policy's `min_drift_rows`.
    answered:   predictions of this version whose true value came.
    live_score: the use case's metric on them; None when they are too few. test_score: on the test rows.
    passed:     a bound was passed. retrain: and a training is asked for.
    run_id:     the MLflow run with the report; None when nothing was served since the last look.
    """

    use_case: str
    version: int
    rows: int
    drift: dict[str, float]
    answered: int
    metric: str
    live_score: float | None
    test_score: float | None
    passed: bool
    retrain: bool
    reason: str
    run_id: str | None


def monitor(lab: Lab, use_case: UseCase) -> Finding:
    """Looks at the newest predictions and the true values that came; writes the report and the finding.

    A training is asked for once a batch: with the same rows the next one would find the same.
    Raises `NoChampionError` when no champion is served yet.
    """
    lab.store.prepare_tables(use_case)
    champion = lab.registry.by_alias(use_case.name, CHAMPION)
    if champion is None:
        raise NoChampionError(f"{use_case.name} has no champion yet; there is nothing to compare with")
    last = lab.ledger.last_check(use_case.name)
    unchanged = last and last.version == champion.version
    if unchanged and not lab.predictions.since(use_case.name, last.checked_at):
        return Finding(
            use_case.name, champion.version, last.rows, {}, last.answered, last.metric, last.live_score,
            last.test_score, last.passed, False, "nothing was served since the last look", None,
        )  # fmt: skip

    contract = lab.predictor(champion).contract
    matrix = _encoded(contract, lab.predictions.latest(use_case.name, WINDOW))
    policy = contract.retrain
    drift = _drift(contract, matrix) if len(matrix) >= policy.min_drift_rows else {}
    truth, output = _answered(
        contract, lab.predictions.labelled(use_case.name, champion.version, MOST_ANSWERED)
    )
    test = contract.metrics.get("test", {}).get(contract.metric)
    live = _score(contract, truth, output) if len(truth) >= ENOUGH_ANSWERED else None

    passed = []
    worst = max(drift, key=drift.get, default=None)
    if worst is not None and drift[worst] > policy.psi:
        passed.append(
            f"{worst} has drifted in what is asked "
            f"(PSI {drift[worst]:.2f} > {policy.psi}, {len(matrix):,} rows)"
        )
    if live is not None and test is not None and _worse(contract, truth, output, test):
        passed.append(
            f"{contract.metric} is {live:.4g} on {len(truth):,} answered predictions, {test:.4g} on test rows"
        )
    retrain, reason = _ask(lab, use_case, policy, passed, len(matrix), len(truth))
    run = _report(lab, champion, contract, matrix, drift, len(truth), live, test, passed, retrain, reason)
    finding = Finding(
        use_case.name, champion.version, len(matrix), drift, len(truth), contract.metric, live, test,
        bool(passed), retrain, reason, run,
    )  # fmt: skip
    batches = lab.ledger.batches(use_case.name)
    check = Check(
        use_case=use_case.name, version=champion.version, rows=len(matrix), psi=drift.get(worst), feature=worst,
        answered=len(truth), metric=contract.metric, live_score=live, test_score=test, passed=bool(passed),
        retrain=retrain, reason=reason, batch_id=batches[-1].id if batches else None, mlflow_run=run,
    )  # fmt: skip
    lab.ledger.put_check(check)
    lab.say(f"{use_case.name}: {reason}")
    return finding


def _ask(
    lab: Lab, use_case: UseCase, policy: RetrainPolicy, passed: list[str], rows: int, answered: int
) -> tuple[bool, str]:
    if not passed:
        seen = f"{rows:,} predictions, {answered:,} true values"
        few = f"; drift is looked at from {policy.min_drift_rows} rows on"
        return False, f"no bound is passed ({seen}{few if rows < policy.min_drift_rows else ''})"
    reason = "; ".join(passed)
    try:
        batch = newest(lab, use_case)
    except LabError:
        return False, f"{reason}; there is no batch to train on"
    asked = lab.ledger.last_check(use_case.name, asked=True)
    if asked is not None and asked.batch_id == batch.id:
        return (
            False,
            f"{reason}; a training was asked for at {asked.checked_at:%Y-%m-%d %H:%M} UTC, no batch came since",
        )
    return True, reason


def _encoded(contract: Contract, found: list[dict]) -> np.ndarray:
    """Logged rows as the model's input; rows that an earlier version took and this one doesn't are left out."""
    try:
        typed = contract.read(found)
    except ContractError as error:
        odd = {problem["row"] for problem in error.problems}
        typed = contract.read([row for place, row in enumerate(found) if place not in odd])
    return contract.encode(typed)


def _drift(contract: Contract, matrix: np.ndarray) -> dict[str, float]:
    return {
        f.name: psi(contract.reference[f.name], matrix[:, place])
        for place, f in enumerate(contract.features)
        if f.name in contract.reference
    }


def _answered(contract: Contract, found: list) -> tuple[np.ndarray, np.ndarray]:
    """True values and the graph's outputs, as `metrics.metric` takes them."""
    truth = contract.encode_target(row.actual for row in found)
    if contract.task == "regression":
        return truth, np.array([row.prediction for row in found], dtype=np.float64)
    output = [[row.probabilities[name] for name in contract.classes] for row in found]
    return truth, np.array(output, dtype=np.float64).reshape(len(found), len(contract.classes))


def _score(contract: Contract, truth: np.ndarray, output: np.ndarray) -> float | None:
    score = METRICS[contract.metric](truth, output, contract.threshold)
    return None if np.isnan(score) else score


def _worse(contract: Contract, truth: np.ndarray, output: np.ndarray, test: float) -> bool:
    """Whether the error passes its bound in nearly every resample. Where greater is better the error is 1 − metric."""

    def error(score: float) -> float:
        return 1 - score if contract.greater_is_better else score

    random = np.random.default_rng(0)
    picks = (random.integers(0, len(truth), len(truth)) for _ in range(RESAMPLES))
    metric = METRICS[contract.metric]
    found = [metric(truth[pick], output[pick], contract.threshold) for pick in picks]
    beyond = [error(score) > (1 + WORSE) * error(test) for score in found if not np.isnan(score)]
    return bool(beyond) and float(np.mean(beyond)) >= SURE


def _report(
    lab: Lab,
    champion: Version,
    contract: Contract,
    matrix,
    drift,
    answered,
    live,
    test,
    passed,
    retrain,
    reason,
) -> str:
    """A run with figures, `report.json` and `drift.png`; returns its id."""
    run = lab.tracking.start(
        champion.use_case, f"monitoring-{now():%Y-%m-%d-%H%M}", MonitoringTags(version=champion.version)
    )
    metrics = {f"psi.{name}": value for name, value in drift.items()}
    metrics |= {
        "predictions": len(matrix),
        "answered": answered,
        "psi_max": max(drift.values(), default=None),
    }
    metrics |= {f"live.{contract.metric}": live, f"test.{contract.metric}": test}
    outcome = "retrain" if retrain else "bound passed" if passed else "stable"
    lab.tracking.log(run, metrics=metrics, tags=MonitoringTags(outcome=outcome, outcome_reason=reason))
    content = {
        "use_case": champion.use_case, "version": champion.version, "champion_run": champion.run_id,
        "predictions": len(matrix), "psi": drift, "answered": answered, "metric": contract.metric,
        "live": live, "test": test, "passed": passed, "retrain": retrain, "reason": reason,
        "features": {name: _shares(contract, matrix, name) for name in drift},
    }  # fmt: skip
    lab.tracking.log_json(run, "report.json", content)
    if drift:
        with tempfile.TemporaryDirectory() as folder:
            _draw(contract, content, Path(folder) / "drift.png")
            lab.tracking.log_folder(run, Path(folder), "plots")
    lab.tracking.end(run)
    return run


def _shares(contract: Contract, matrix: np.ndarray, name: str) -> dict[str, list]:
    """A feature's bins, with the shares of the training rows and of the served ones."""
    place = [f.name for f in contract.features].index(name)
    known = contract.reference[name]
    counts = histogram(known, matrix[:, place])
    return {
        "edges": known.edges,
        "training": known.shares,
        "served": (counts / max(counts.sum(), 1)).tolist(),
    }


def _draw(contract: Contract, content: dict, path: Path) -> None:
    """Left, the index of every feature; right, the bins of the one that moved most."""
    import matplotlib

    matplotlib.use("Agg")  # a picture for a file; there may be no screen
    from matplotlib import pyplot

    ranked = sorted(content["psi"].items(), key=lambda item: item[1])[-SHOWN_FEATURES:]
    names, values = [name for name, _ in ranked], [value for _, value in ranked]
    left, right = pyplot.subplots(1, 2, figsize=(12, 1.5 + 0.3 * max(8, len(names))))[1]
    left.barh(names, values)
    left.axvline(0.1, color="grey", linewidth=1, linestyle=":")
    left.axvline(contract.retrain.psi, color="black", linewidth=1)
    left.set(xlabel="population stability index", title=f"below 0.1 stable; bound {contract.retrain.psi:g}")
    shares = content["features"][names[-1]]
    bins = np.arange(len(shares["training"]))
    right.bar(bins - 0.2, shares["training"], 0.4, label="training")
    right.bar(bins + 0.2, shares["served"], 0.4, label=f"served, {content['predictions']:,} rows")
    feature = next(f for f in contract.features if f.name == names[-1])
    right.set_xticks(bins, _bin_names(feature, shares["edges"]), rotation=60, ha="right", fontsize="small")
    right.set(ylabel="share of the rows", title=feature.title)
    right.legend()
    left.figure.savefig(path, dpi=90, bbox_inches="tight")
    pyplot.close(left.figure)


def _bin_names(feature, edges: list[float]) -> list[str]:
    if feature.type == "category":
        known = ["(none)", "rare or unknown", *feature.vocabulary]
        return [*(known[place][:25] for place in range(len(edges))), "others", "missing"]
    return [f"≤ {edges[0]:.4g}", *(f"… {edge:.4g}" for edge in edges[1:]), f"> {edges[-1]:.4g}", "missing"]
