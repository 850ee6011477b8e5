"""The steps before the decision: a batch arrives, its rows are checked, stored and cleaned, and the batch is closed."""

from hashlib import sha256

from mlops_lab.data.payload import BatchShapeError, batch_number, parse
from mlops_lab.data.prepare import prepare as prepare_rows
from mlops_lab.data.split import with_split
from mlops_lab.data.tables import Batch
from mlops_lab.data.validate import records
from mlops_lab.data.validate import validate as validate_rows
from mlops_lab.errors import LabError
from mlops_lab.lab import Lab
from mlops_lab.model.tags import BatchTags
from mlops_lab.use_case import UseCase

# Rows of the quarantine table in MLflow. All quarantined rows are in RawData.
QUARANTINE_SHOWN = 1000


class KnownBatchError(LabError):
    """The payload was received before. It is stored once, so there is nothing to do."""


def land(lab: Lab, use_case: UseCase) -> Batch:
    """The batch to work on: the one that an earlier run left unfinished, else the next one of the Data API.

    The payload is stored in the bucket before it is parsed, because the API sends it only once.
    Raises `EndOfDataError`, `KnownBatchError` or `SourceError`.
    """
    for change in lab.store.prepare_tables(use_case):
        lab.progress(change)
    if (left := lab.ledger.unfinished(use_case.name)) is not None:
        lab.progress(f"batch {left.batch_number} was left unfinished ({left.state}); continuing with it")
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
        lab.progress(f"batch {batch.batch_number} follows a gap: {batch.gap} batch(es) never arrived")
    lab.progress(f"batch {batch.batch_number} landed, {len(body) / 1e6:.1f} MB")
    return batch


def newest(lab: Lab, use_case: UseCase) -> Batch:
    """The newest batch that could be stored. A training without a new batch belongs to it.

    Raises `LabError` when there is none.
    """
    lab.store.prepare_tables(use_case)
    usable = [b for b in lab.ledger.batches(use_case.name) if b.mlflow_run and b.state != "broken"]
    if not usable:
        raise LabError(f"{use_case.name} has no batch yet; run `lab run {use_case.name}` first")
    return usable[-1]


def validate(lab: Lab, use_case: UseCase, batch_id: int) -> None:
    """Writes the good rows to RawData with their split, and the bad ones to quarantine with the rule they broke.

    A batch that is done stays as it is. Raises `BatchShapeError` when the payload isn't a batch of this use case; then
    the payload stays in the bucket, and the ledger holds the reason.
    """
    batch = lab.ledger.batch(batch_id)
    if batch.state == "done":
        lab.progress(f"batch {batch.batch_number} is stored already")
        return
    try:
        payload = parse(lab.artifacts.get(batch.payload), use_case)
    except BatchShapeError as error:
        lab.ledger.note(batch_id, state="broken", fault=str(error))
        raise BatchShapeError(f"{error}; the payload is kept as {batch.payload}") from None
    checked = validate_rows(payload, use_case)
    kept = with_split(use_case, checked.typed)
    counts = lab.store.put_raw(use_case, batch_id, payload, kept, checked.problems)

    run = batch.mlflow_run or lab.tracking.start(
        use_case.name,
        f"batch-{batch.batch_number}",
        BatchTags(
            batch_id=batch.id, batch_number=batch.batch_number, payload=batch.payload, digest=batch.digest
        ),
    )
    lab.ledger.note(batch_id, mlflow_run=run)
    tags = BatchTags(ignored_columns=", ".join(payload.ignored))
    lab.tracking.log(run, metrics=counts | {"gap": batch.gap}, tags=tags)
    lab.tracking.log_json(run, "quarantine.json", records(checked.problems, QUARANTINE_SHOWN))
    lab.progress(
        "{received:,} rows received, {stored:,} stored, {quarantined:,} quarantined".format(**counts)
    )


def prepare(lab: Lab, use_case: UseCase, batch_id: int) -> None:
    """Writes the batch's rows of RawData to CleanData: cleaned, each distinct row once, with its split.

    A batch that is done stays as it is.
    """
    batch = lab.ledger.batch(batch_id)
    if batch.state == "done":
        lab.progress(f"batch {batch.batch_number} is prepared already")
        return
    prepared = prepare_rows(use_case, lab.store.read_raw(use_case, batch_id))
    new = lab.store.put_clean(use_case, batch_id, prepared.frame)
    counts = {"clean": new, "dropped": prepared.dropped, "duplicates": len(prepared.frame) - new}
    lab.ledger.note(batch_id, state="prepared", **counts)
    lab.tracking.log(batch.run, metrics=counts)
    lab.progress("{clean:,} new clean rows, {duplicates:,} duplicates, {dropped:,} dropped".format(**counts))


def finish(lab: Lab, use_case: UseCase, batch_id: int) -> bool:
    """Marks the batch as done. Returns whether it has rows: if so, the Data API may have a further batch."""
    batch = lab.ledger.batch(batch_id)
    lab.ledger.note(batch_id, state="done")
    lab.tracking.end(batch.run)
    return bool(batch.stored)


def reset(lab: Lab, use_case: UseCase) -> None:
    """Removes all rows, models, runs and payloads of a use case, and restarts its data. Logged predictions stay."""
    lab.store.create_tables()
    lab.store.reset(use_case)
    lab.tracking.delete_runs(use_case.name)
    lab.artifacts.delete(f"payloads/{use_case.name}")
    lab.source.restart(use_case.dataset)
