"""The steps before the decision: a batch arrives, its rows are checked, stored and cleaned, and the batch is closed."""

from hashlib import sha256

import pandas as pd

from mlops_lab.data.payload import BatchShapeError, batch_number, parse
from mlops_lab.data.split import hashes, split_of
from mlops_lab.data.store import records
from mlops_lab.data.tables import Batch
from mlops_lab.data.validate import validate as read_rows
from mlops_lab.errors import LabError
from mlops_lab.lab import Lab
from mlops_lab.model.tags import BatchTags
from mlops_lab.use_case import UseCase

# Rows of the quarantine table in MLflow. All quarantined rows are in RawData.
QUARANTINE_SHOWN = 1000


class KnownBatchError(LabError):
    """The payload was received before; it is stored once and there is nothing to do."""


def land(lab: Lab, use_case: UseCase) -> Batch:
    """The batch to work on: one that an earlier run left unfinished, else the next of the Data API.

    The payload is in the bucket before it is parsed, since the API won't send it again.
    Raises `EndOfDataError`, `KnownBatchError` or `SourceError`.
    """
    lab.store.prepare_tables(use_case)
    if (left := lab.ledger.unfinished(use_case.name)) is not None:
        lab.say(f"batch {left.batch_number} was left unfinished ({left.state}); going on with it")
        return left
    folder = f"payloads/{use_case.name}"
    known = {batch.payload for batch in lab.ledger.batches(use_case.name)}
    if orphans := [path for path in lab.artifacts.list(folder) if path not in known]:
        # An earlier run was killed between the bucket and the ledger.
        path, body, source = orphans[0], lab.artifacts.get(orphans[0]), "bucket"
    else:
        payload = lab.source.fetch(use_case.dataset)
        body, source = payload.body, payload.url[:255]
        path = lab.artifacts.put(f"{folder}/{sha256(body).hexdigest()}.json", body)
    digest = sha256(body).hexdigest()
    batch, new = lab.ledger.land(use_case.name, digest, batch_number(body), path, source)
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
    usable = [b for b in lab.ledger.batches(use_case.name) if b.mlflow_run and b.state != "broken"]
    if not usable:
        raise LabError(f"{use_case.name} has no batch yet; run `lab run {use_case.name}` first")
    return usable[-1]


def validate(lab: Lab, use_case: UseCase, batch_id: int) -> Batch:
    """Good rows into RawData with their split, bad ones into quarantine with the rule they broke.

    Raises `BatchShapeError` when the payload isn't a batch of this use case; it stays in the bucket and the
    ledger says why.
    """
    batch = lab.ledger.batch(batch_id)
    try:
        raw = parse(lab.artifacts.get(batch.payload), use_case)
    except BatchShapeError as error:
        lab.ledger.note(batch_id, state="broken", fault=str(error))
        raise BatchShapeError(f"{error}; the payload is kept as {batch.payload}") from None
    checked = read_rows(raw, use_case)
    kept = checked.typed.assign(group_hash=_group_hashes(use_case, checked.typed))
    kept["split"] = kept["group_hash"].map(split_of)
    raw_rows = dict(zip(raw.positions, raw.rows, strict=True)) | {
        place: row for place, _, row in raw.misshapen
    }
    lab.store.put_raw(use_case, batch, kept, raw_rows, checked.problems)
    batch = lab.ledger.batch(batch_id)

    run = batch.mlflow_run or lab.tracking.start(
        use_case.name,
        f"batch-{batch.batch_number}",
        BatchTags(
            batch_id=batch.id, batch_number=batch.batch_number, payload=batch.payload, digest=batch.digest
        ),
    )
    lab.ledger.note(batch_id, mlflow_run=run)
    counts = {
        "received": batch.received,
        "stored": batch.stored,
        "quarantined": batch.quarantined,
        "gap": batch.gap,
    }
    lab.tracking.log(run, metrics=counts, tags=BatchTags(ignored_columns=", ".join(raw.ignored)))
    lab.tracking.log_json(run, "quarantine.json", records(checked.problems, QUARANTINE_SHOWN))
    lab.say(f"{batch.received:,} rows received, {batch.stored:,} stored, {batch.quarantined:,} quarantined")
    return lab.ledger.batch(batch_id)


def prepare(lab: Lab, use_case: UseCase, batch_id: int) -> Batch:
    """Cleaned rows into CleanData, each distinct row once, with its split."""
    batch = lab.ledger.batch(batch_id)
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
    lab.ledger.note(batch_id, state="prepared", **counts)
    lab.tracking.log(batch.mlflow_run, metrics=counts)
    lab.say(f"{new:,} new clean rows, {counts['duplicates']:,} duplicates, {counts['dropped']:,} dropped")
    return lab.ledger.batch(batch_id)


def finish(lab: Lab, use_case: UseCase, batch_id: int) -> bool:
    """Closes the batch; returns whether it brought new rows, and so whether the next one is worth asking for."""
    batch = lab.ledger.batch(batch_id)
    lab.ledger.note(batch_id, state="done")
    lab.tracking.end(batch.mlflow_run)
    return bool(batch.stored)


def reset(lab: Lab, use_case: UseCase) -> None:
    """Removes everything the lab holds of a use case, and lets the Data API begin again. Predictions stay."""
    lab.store.create_tables()
    lab.store.reset(use_case)
    lab.tracking.delete_runs(use_case.name)
    lab.artifacts.delete(f"payloads/{use_case.name}")
    lab.source.restart(use_case.dataset)


def _group_hashes(use_case: UseCase, typed: pd.DataFrame) -> list[str]:
    """Of the group key, else of the whole row: equal groups have equal hashes in every batch."""
    columns = list(use_case.group_key) or [f.name for f in use_case.features] + (
        [] if use_case.derived_target else [use_case.target.name]
    )
    return hashes(typed, columns)
