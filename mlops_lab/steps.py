"""The loop's verbs, in the order of the loop. Each may be run again: it replaces what it wrote before.

    land → validate → prepare → decide → train (once a candidate) → promote → roll_out → finish

A step takes the lab, the use case and the id of a batch; what it leaves behind is in the databases, the bucket
and MLflow, never in memory, so that Airflow may run each one anywhere.
"""

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from mlops_lab.contract import Lineage
from mlops_lab.data.rows import rows
from mlops_lab.data.source import BatchShapeError, batch_number, parse
from mlops_lab.data.split import hashes, split_of
from mlops_lab.data.store import Batch, now, records
from mlops_lab.data.validate import validate as read_rows
from mlops_lab.errors import LabError, ModelError
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.model.compare import judge
from mlops_lab.model.drift import psi
from mlops_lab.model.registry import CHALLENGER, CHAMPION, PREVIOUS, Version
from mlops_lab.rollout import RolloutError, check_replicas
from mlops_lab.use_case import UseCase

QUARANTINE_SHOWN = 1000  # rows of the quarantine table in MLflow; all of them are in RawData


class KnownBatchError(LabError):
    """The payload was received before; it is stored once and there is nothing to do."""


@dataclass(frozen=True)
class Decision:
    """Whether to train, and why."""

    train: bool
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What became of a batch's challenger."""

    promoted: bool
    version: int | None
    reason: str


def land(lab: Lab, use_case: UseCase) -> Batch:
    """The batch to work on: one that an earlier run left unfinished, else the next of the Data API.

    The payload is in the bucket before it is parsed, since the API won't send it again.
    Raises `EndOfDataError`, `KnownBatchError` or `SourceError`.
    """
    lab.store.prepare_tables(use_case)
    if (left := lab.store.unfinished(use_case.name)) is not None:
        lab.say(f"batch {left.batch_number} was left unfinished ({left.state}); going on with it")
        return left
    folder = f"payloads/{use_case.name}"
    known = {batch.payload for batch in lab.store.batches(use_case.name)}
    if orphans := [path for path in lab.artifacts.list(folder) if path not in known]:
        # An earlier run was killed between the bucket and the ledger.
        path, body, source = orphans[0], lab.artifacts.get(orphans[0]), "bucket"
    else:
        payload = lab.source.fetch(use_case.dataset)
        body, source = payload.body, payload.url[:255]
        path = lab.artifacts.put(f"{folder}/{sha256(body).hexdigest()}.json", body)
    digest = sha256(body).hexdigest()
    batch, new = lab.store.land(
        use_case.name, digest, batch_number=batch_number(body), payload=path, source=source
    )
    if not new:
        raise KnownBatchError(
            f"batch {batch.batch_number} was received before (digest {digest[:12]}); nothing to do"
        )
    if batch.gap:
        lab.say(f"batch {batch.batch_number} follows a gap: {batch.gap} batch(es) never arrived")
    lab.say(f"batch {batch.batch_number} landed, {len(body) / 1e6:.1f} MB")
    return batch


def newest(lab: Lab, use_case: UseCase) -> Batch:
    """The batch that a training without a new one belongs to: the newest that could be stored.

    Raises `LabError` when there is none.
    """
    lab.store.prepare_tables(use_case)
    usable = [b for b in lab.store.batches(use_case.name) if b.mlflow_run and b.state != "broken"]
    if not usable:
        raise LabError(f"{use_case.name} has no batch yet; run `lab run {use_case.name}` first")
    return usable[-1]


def validate(lab: Lab, use_case: UseCase, batch_id: int) -> Batch:
    """Good rows into RawData with their split, bad ones into quarantine with the rule they broke.

    Raises `BatchShapeError` when the payload isn't a batch of this use case; it stays in the bucket and the
    ledger says why.
    """
    batch = lab.store.batch(batch_id)
    try:
        raw = parse(lab.artifacts.get(batch.payload), use_case)
    except BatchShapeError as error:
        lab.store.note(batch_id, state="broken", fault=str(error))
        raise BatchShapeError(f"{error}; the payload is kept as {batch.payload}") from None
    checked = read_rows(raw, use_case)
    kept = checked.typed.assign(group_hash=_group_hashes(use_case, checked.typed))
    kept["split"] = kept["group_hash"].map(split_of)
    raw_rows = dict(zip(raw.positions, raw.rows, strict=True)) | {
        place: row for place, _, row in raw.misshapen
    }
    lab.store.put_raw(use_case, batch, kept, raw_rows, checked.problems)
    batch = lab.store.batch(batch_id)

    run = batch.mlflow_run or lab.tracking.start(
        use_case.name,
        f"batch-{batch.batch_number}",
        "batch",
        batch_id=batch.id,
        batch_number=batch.batch_number,
        payload=batch.payload,
        digest=batch.digest,
    )
    lab.store.note(batch_id, mlflow_run=run)
    counts = {
        "received": batch.received,
        "stored": batch.stored,
        "quarantined": batch.quarantined,
        "gap": batch.gap,
    }
    lab.tracking.log(run, metrics=counts, tags={"ignored_columns": ", ".join(raw.ignored)})
    lab.tracking.log_json(run, "quarantine.json", records(checked.problems, QUARANTINE_SHOWN))
    lab.say(f"{batch.received:,} rows received, {batch.stored:,} stored, {batch.quarantined:,} quarantined")
    return lab.store.batch(batch_id)


def prepare(lab: Lab, use_case: UseCase, batch_id: int) -> Batch:
    """Cleaned rows into CleanData, each distinct row once, with its split."""
    batch = lab.store.batch(batch_id)
    typed = read_rows(parse(lab.artifacts.get(batch.payload), use_case), use_case).typed
    groups = pd.Series(_group_hashes(use_case, typed), index=typed.index)
    target = use_case.target.name
    clean = use_case.clean(typed.copy())
    if missing := [f.name for f in (*use_case.features, use_case.target) if f.name not in clean.columns]:
        raise LabError(f"the clean function of {use_case.name} loses or doesn't make: {', '.join(missing)}")
    clean = clean[clean[target].notna()]
    names = [f.name for f in use_case.features] + [target]
    clean = clean[names].assign(row_hash=hashes(clean, names), group_hash=groups.reindex(clean.index))
    if clean["group_hash"].isna().any():
        raise LabError(
            f"the clean function of {use_case.name} changes the frame's index; keep it as it comes"
        )
    clean["split"] = clean["group_hash"].map(split_of)
    new = lab.store.put_clean(use_case, batch, clean)
    counts = {"clean": new, "dropped": len(typed) - len(clean), "duplicates": len(clean) - new}
    lab.store.note(batch_id, state="prepared", **counts)
    lab.tracking.log(batch.mlflow_run, metrics=counts)
    lab.say(f"{new:,} new clean rows, {counts['duplicates']:,} duplicates, {counts['dropped']:,} dropped")
    return lab.store.batch(batch_id)


def decide(
    lab: Lab, use_case: UseCase, batch_id: int, force: bool = False, why: str = "asked for by hand"
) -> Decision:
    """Whether this batch leads to a training, by the use case's policy; `force`: it does, for the reason `why`."""
    batch = lab.store.batch(batch_id)
    decision, metrics = (Decision(True, why), {}) if force else _decide(lab, use_case, batch)
    word = "train" if decision.train else "skip"
    lab.store.note(batch_id, state="decided", decision=word, reason=decision.reason)
    tags = {"decision": word, "reason": decision.reason}
    if not decision.train:
        tags |= {"outcome": "skipped", "outcome_reason": decision.reason}
    lab.tracking.log(batch.mlflow_run, metrics=metrics, tags=tags)
    lab.say(f"decision: {word}, {decision.reason}")
    return decision


def train(lab: Lab, use_case: UseCase, batch_id: int, candidate: str) -> int | None:
    """Trains one candidate on all clean rows and registers it; returns its version, or None when it is refused."""
    from mlops_lab.model.train import train as fit  # scikit-learn and LightGBM: only this step pays for them

    batch = lab.store.batch(batch_id)
    chosen = next((c for c in use_case.candidates if c.name == candidate), None)
    if chosen is None:
        raise LabError(f"{use_case.name} has no candidate {candidate!r}")
    frame = lab.store.read_clean(use_case, until=batch_id)
    run = lab.tracking.start(
        use_case.name, f"{candidate}-{batch.batch_number}", "candidate", batch.mlflow_run,
        candidate=candidate, batch_id=batch_id, batch_number=batch.batch_number,
    )  # fmt: skip
    try:
        trained = fit(use_case, chosen, frame, progress=lambda text: lab.say(f"{candidate}: {text}"))
        version = _register(lab, use_case, batch, run, candidate, trained, frame)
    except ModelError as error:
        lab.tracking.log(run, tags={"outcome": "refused", "outcome_reason": str(error)})
        lab.tracking.end(run, failed=True)
        lab.say(f"{candidate}: refused, {error}")
        return None
    except BaseException:
        lab.tracking.end(run, failed=True)
        raise
    lab.tracking.end(run)
    metric = use_case.metric.name
    lab.say(
        f"{candidate}: version {version}, {metric} {trained.metrics['validation'][metric]:.4g} on validation"
    )
    return version


def promote(lab: Lab, use_case: UseCase, batch_id: int) -> Outcome:
    """The batch's best candidate by validation challenges the champion, on the test rows that are there now.

    Two promotions at once: the one that records its decision first wins, the other compares again with the new
    champion. Raises `ModelError` when no candidate is fit to serve.
    """
    batch = lab.store.batch(batch_id)
    versions = [
        lab.registry.version(use_case.name, v) for v in lab.store.models_of_batch(use_case.name, batch_id)
    ]
    # A batch may be trained twice (a retry, `lab train --force`): each candidate's newest version counts.
    made = list({version.tags["lab.candidate"]: version for version in versions}.values())
    if not made:
        raise ModelError(f"no candidate of batch {batch.batch_number} is fit to serve; MLflow's runs say why")
    sign = 1 if use_case.metric.greater_is_better else -1
    best = max(made, key=lambda version: sign * float(version.tags["lab.validation"]))
    lab.registry.set_alias(use_case.name, CHALLENGER, best.version)
    challenger = lab.predictor(best)
    holdout = lab.store.read_clean(use_case, split="test", until=batch_id)
    while True:
        history = lab.store.promotions(use_case.name)
        champion = lab.registry.by_alias(use_case.name, CHAMPION)
        if (done := next((row for row in history if row.challenger == best.version), None)) is not None:
            promoted, reason = (
                done.outcome == "promoted",
                done.reason,
            )  # a re-run: only the aliases may be missing
            champion = lab.registry.version(use_case.name, done.champion) if done.champion else None
            break
        verdict = judge(use_case, challenger, champion and lab.predictor(champion), holdout)
        promoted, reason = verdict.promoted, verdict.reason
        low, high = verdict.interval or (None, None)
        if lab.store.put_promotion(
            use_case.name,
            len(history) + 1,
            challenger=best.version,
            champion=champion and champion.version,
            outcome="promoted" if promoted else "refused",
            reason=reason,
            metric=verdict.metric,
            challenger_score=_number(verdict.challenger_score),
            champion_score=_number(verdict.champion_score),
            interval_low=_number(low),
            interval_high=_number(high),
            holdout_rows=verdict.holdout_rows,
            holdout_digest=verdict.holdout_digest,
        ):
            lab.tracking.log_json(
                batch.mlflow_run, "promotion.json", {**vars(verdict), "challenger": best.version}
            )
            break
        lab.say("another promotion came first; comparing again with the new champion")
    outcome = "promoted" if promoted else "refused"
    if promoted:
        _set_champion(lab, use_case, best.version, champion and champion.version)
    lab.registry.tag(best, outcome=outcome, reason=reason)
    for loser in made:
        if loser.version != best.version:
            lab.registry.tag(
                loser, outcome="not chosen", reason=f"{best.tags['lab.candidate']} was better on validation"
            )
    lab.tracking.log(
        batch.mlflow_run, tags={"outcome": outcome, "outcome_reason": reason, "version": best.version}
    )
    lab.say(f"{best.tags['lab.candidate']} (version {best.version}) {outcome}: {reason}")
    return Outcome(promoted, best.version, reason)


def roll_out(lab: Lab, use_case: UseCase, batch_id: int | None, version: int) -> None:
    """Waits until every replica serves the version and predicts its example; else the alias goes back.

    Raises `RolloutError` after the alias went back.
    """
    try:
        predictor = lab.predictor(lab.registry.version(use_case.name, version))
        predictor.check_example()
        if lab.settings.inference_url:
            seen = check_replicas(lab.settings, use_case.name, version, predictor, lab.say)
            lab.say(f"version {version} is served by {counted(seen, 'replica')}")
        else:
            lab.say(f"version {version} predicts its example")
    except (RolloutError, ModelError) as error:
        previous = lab.registry.by_alias(use_case.name, PREVIOUS)
        reason = f"{error}; the champion is again {f'version {previous.version}' if previous else 'none'}"
        _step_back(lab, use_case, version, previous, reason)
        if batch_id is not None:
            run = lab.store.batch(batch_id).mlflow_run
            lab.tracking.log(run, tags={"outcome": "rolled back", "outcome_reason": reason})
        raise RolloutError(reason) from error


def finish(lab: Lab, use_case: UseCase, batch_id: int) -> bool:
    """Closes the batch; returns whether it brought new rows, and so whether the next one is worth asking for."""
    batch = lab.store.batch(batch_id)
    lab.store.note(batch_id, state="done")
    lab.tracking.end(batch.mlflow_run)
    return bool(batch.stored)


def roll_back(lab: Lab, use_case: UseCase, version: int | None = None) -> int:
    """Makes an earlier version champion again: the one named, else `previous`. Returns its number."""
    current = lab.registry.by_alias(use_case.name, CHAMPION)
    target = (
        lab.registry.version(use_case.name, version)
        if version is not None
        else lab.registry.by_alias(use_case.name, PREVIOUS)
    )
    if target is None:
        raise ModelError(f"{use_case.name} has no previous champion to go back to")
    if current is not None and current.version == target.version:
        raise ModelError(f"version {target.version} of {use_case.name} is the champion already")
    lab.predictor(target).check_example()
    _step_back(lab, use_case, current.version if current else target.version, target, "rolled back by hand")
    return target.version


def reset(lab: Lab, use_case: UseCase) -> None:
    """Removes everything the lab holds of a use case, and lets the Data API begin again. Predictions stay."""
    lab.store.create_tables()
    lab.store.reset(use_case)
    lab.tracking.delete_runs(use_case.name)
    lab.artifacts.delete(f"payloads/{use_case.name}")
    lab.source.restart(use_case.dataset)


def _decide(lab: Lab, use_case: UseCase, batch: Batch) -> tuple[Decision, dict[str, float]]:
    total = lab.store.count_clean(use_case)
    champion = lab.registry.by_alias(use_case.name, CHAMPION)
    if total == 0:
        return Decision(False, "there is no clean row to learn from"), {}
    if champion is None:
        return Decision(True, "there is no champion yet"), {}
    contract = lab.predictor(champion).contract
    since = max(contract.lineage.batches)
    policy = use_case.retrain

    new, groups = lab.store.new_groups(use_case, batch.id, since)
    fresh = lab.store.read_clean(use_case, after=since, until=batch.id)
    metrics: dict[str, float] = {"new_share": new / groups if groups else 0.0, "new_rows": len(fresh)}
    reasons = []
    if groups and metrics["new_share"] >= policy.new_share:
        reasons.append(f"{metrics['new_share']:.0%} of the batch's groups are new to the champion")
    if len(fresh) >= policy.min_new_rows:
        reasons.append(f"{len(fresh):,} new rows since the champion")
    if len(fresh) >= policy.min_drift_rows:
        matrix = contract.encode(rows(fresh[[f.name for f in contract.features]]))
        drift = {
            f.name: psi(contract.reference[f.name], matrix[:, i]) for i, f in enumerate(contract.features)
        }
        worst = max(drift, key=drift.get)
        std, was = (
            float(np.std(contract.encode_target(fresh[use_case.target.name]))),
            contract.target_reference["std"],
        )
        change = std / was - 1 if was else 0.0
        metrics |= {f"psi.{name}": value for name, value in drift.items()}
        metrics |= {"psi_max": drift[worst], "psi_bound": policy.psi, "target_std_change": change}
        if drift[worst] > policy.psi:
            reasons.append(f"{worst} has drifted (PSI {drift[worst]:.2f} > {policy.psi})")
        if abs(change) > policy.target_std:
            reasons.append(f"the target's spread changed by {change:+.0%}")
    if reasons:
        return Decision(True, "; ".join(reasons)), metrics
    share = f"{metrics['new_share']:.0%} of its groups are new" if groups else "no row could be stored"
    return Decision(False, f"{share}, {len(fresh):,} new rows since the champion, nothing drifted"), metrics


def _register(lab: Lab, use_case: UseCase, batch: Batch, run: str, candidate: str, trained, frame) -> int:
    """The run's figures, plots and model; then the version with its digest in the registry and in RawData."""
    batches = sorted(int(number) for number in frame["batch_id"].unique())
    splits = frame["split"].value_counts().to_dict()
    lineage = Lineage(
        run_id=run, candidate=candidate, batches=batches, rows=splits, created_at=now(), commit=_commit()
    )  # fmt: skip
    contract = trained.contract.model_copy(update={"lineage": lineage})
    metrics = {
        f"{split}.{name}": value
        for split, scores in contract.metrics.items()
        for name, value in scores.items()
    }
    metrics |= {
        f"baseline.{s}.{name}": v for s, scores in contract.baseline.items() for name, v in scores.items()
    }
    chosen = use_case.metric.name
    lab.tracking.log(run, params=trained.params, metrics=metrics)
    lab.tracking.log_series(run, [{"trial": trial[chosen]} for trial in trained.trials])
    for number in batches:
        source = lab.store.batch(number)
        name, url = (
            f"{use_case.name}-batch-{source.batch_number}",
            f"{lab.settings.artifacts}/{source.payload}",
        )
        lab.tracking.log_dataset(run, name, source.digest, url, "training")
    with tempfile.TemporaryDirectory() as folder:
        plots, model = Path(folder) / "plots", Path(folder) / "model"
        plots.mkdir()
        trained.plot(plots)
        lab.tracking.log_folder(run, plots, "plots")
        trained.save(model, contract)
        tags = {
            "lab.candidate": candidate,
            "lab.metric": chosen,
            "lab.validation": repr(contract.metrics["validation"][chosen]),
            "lab.test": repr(contract.metrics.get("test", {}).get(chosen)),
            "lab.baseline": repr(contract.baseline.get("test", {}).get(chosen)),
            "lab.batch_id": str(batch.id),
            "lab.batch_number": str(batch.batch_number),
        }
        version = lab.registry.register(use_case.name, run, model, tags)
    lab.store.put_model(
        use_case=use_case.name, version=version.version, digest=version.digest, run_id=run, batch_id=batch.id
    )  # fmt: skip
    return version.version


def _set_champion(lab: Lab, use_case: UseCase, version: int, before: int | None) -> None:
    if before is not None and before != version:
        lab.registry.set_alias(use_case.name, PREVIOUS, before)
    lab.registry.set_alias(use_case.name, CHAMPION, version)


def _step_back(lab: Lab, use_case: UseCase, version: int, target: Version | None, reason: str) -> None:
    if target is None:
        lab.registry.delete_alias(use_case.name, CHAMPION)
    else:
        lab.registry.set_alias(use_case.name, CHAMPION, target.version)
    values = {
        "challenger": version,
        "champion": target and target.version,
        "outcome": "rolled back",
        "reason": reason,
    }
    while not lab.store.put_promotion(use_case.name, len(lab.store.promotions(use_case.name)) + 1, **values):
        pass  # another decision took the number meanwhile; this one gets the next
    lab.registry.tag(lab.registry.version(use_case.name, version), outcome="rolled back", reason=reason)


def _group_hashes(use_case: UseCase, typed: pd.DataFrame) -> list[str]:
    """Of the group key, else of the whole row: equal groups have equal hashes in every batch."""
    columns = list(use_case.group_key) or [f.name for f in use_case.features] + (
        [] if use_case.derived_target else [use_case.target.name]
    )
    return hashes(typed, columns)


def _number(value: float | None) -> float | None:
    """A database has no NaN."""
    return None if value is None or np.isnan(value) else float(value)


@lru_cache(maxsize=1)
def _commit() -> str | None:
    """The commit that the code is at, where there is a repository."""
    from mlflow.utils.git_utils import get_git_commit

    return get_git_commit(str(Path(__file__).resolve().parent))
