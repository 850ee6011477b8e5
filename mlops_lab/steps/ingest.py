"""The steps before the decision: a batch arrives, its rows are checked, stored and cleaned, and the batch is closed."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from mlops_lab.data import checked_rows, clean_rows
from mlops_lab.data.artifacts import ArtifactError
from mlops_lab.data.incoming import Slot
from mlops_lab.data.json_rows import AgainError
from mlops_lab.data.payload import CHUNK, BatchShapeError, Payload, RawBatch, batch_number
from mlops_lab.data.prepare import prepare as prepare_rows
from mlops_lab.data.source import MEGABYTE
from mlops_lab.data.split import with_split
from mlops_lab.data.states import CLOSED
from mlops_lab.data.tables import Batch
from mlops_lab.data.validate import Problem, by_rule, records
from mlops_lab.data.validate import validate as validate_rows
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.model.tags import BatchTags
from mlops_lab.steps.attempts import ATTEMPTS
from mlops_lab.steps.check import check_arrival, check_content, misshapen
from mlops_lab.steps.reconcile import reconcile
from mlops_lab.steps.stopwatch import timed
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd

# Broken rules that a run tells, the most frequent first.
RULES_SHOWN = 3
# Rows of the quarantine table in MLflow. All quarantined rows are in RawData.
QUARANTINE_SHOWN = 1000
# Bytes that must be free before a batch is requested, or as many as the batch before had.
ROOM = 64 * MEGABYTE
# So many batches without a row one after another, and the Data API is no longer asked at once.
FRUITLESS = 5
# The origin of a payload that an earlier run stored before it was killed.
BUCKET = "bucket"


class KnownBatchError(LabError):
    """The payload was received before. It is stored once, so there is nothing to do."""


def land(lab: Lab, use_case: UseCase) -> Batch:
    """The batch to work on: the one that an earlier run left unfinished, else the next one of the Data API.

    The payload is stored in the bucket before it is parsed, because the API sends it only once.
    Raises `EndOfDataError`, `KnownBatchError`, `OversizedError`, and `ServiceError` when a service or the disk fails.
    """
    for change in lab.store.prepare_tables(use_case):
        lab.progress(change)
    reconcile(lab, use_case, idle=True)
    with lab.incoming.slot(use_case.name) as slot:
        if (left := lab.ledger.unfinished(use_case.name)) is not None:
            lab.progress(f"batch {left.batch_number} was left unfinished ({left.state}); continuing with it")
            if left.fault:
                lab.progress(f"failed attempts: {left.attempts} of {ATTEMPTS}; the last one: {left.fault}")
            lab.ledger.take_up(left.id)
            return left
        body, path, source = _next_payload(lab, use_case, slot)
        digest = sha256(body).hexdigest()
        batch, new = lab.ledger.land(use_case.name, digest, batch_number(body), path, source)
        if source != BUCKET:
            slot.clear()
    if not new:
        if batch.payload_deleted_at:  # It was stored again just now.
            lab.ledger.note(batch.id, payload_deleted_at=None)
        raise KnownBatchError(
            f"batch {batch.batch_number} was received before (digest {digest[:12]}); nothing to do"
        )
    if batch.gap:
        lab.progress(f"batch {batch.batch_number} follows a gap: {batch.gap} batch(es) never arrived")
    lab.progress(f"batch {batch.batch_number} landed, {len(body) / 1e6:.1f} MB")
    return batch


def _next_payload(lab: Lab, use_case: UseCase, slot: Slot) -> tuple[bytes, str, str]:
    """The next payload, its path in the bucket, and where it comes from.

    First what an earlier run left: in the bucket, but not in the ledger; then in the incoming folder; else a request.
    """
    folder, batches = f"payloads/{use_case.name}", lab.ledger.batches(use_case.name)
    known = {batch.payload for batch in batches}
    lab.artifacts.delete_parts(folder)
    if orphans := [path for path in lab.artifacts.list(folder) if path not in known]:
        return lab.artifacts.get(orphans[0]), orphans[0], BUCKET
    source = "incoming"
    if slot.reply.exists() and _path(folder, slot.reply.read_bytes()) in known:
        slot.clear()  # An earlier run was killed before it could.
    if not slot.reply.exists():
        # The server may send a batch only once, so nothing is requested before it is known that it can be kept.
        room = max(ROOM, lab.artifacts.size(batches[-1].payload) if batches else 0)
        slot.check_room(room)
        # Only whether the bucket takes an object at all: a reply for which it has no room stays in the incoming folder.
        lab.artifacts.check_room(folder, MEGABYTE)
        source = slot.receive(lab.source, use_case.dataset)[:255]
    body = slot.reply.read_bytes()
    try:
        return body, lab.artifacts.put(_path(folder, body), body), source
    except ArtifactError as error:
        raise ArtifactError(
            f"{error}; the batch is kept in {slot.reply}, and the next run continues with it"
        ) from error


def _path(folder: str, body: bytes) -> str:
    return f"{folder}/{sha256(body).hexdigest()}.json"


def newest(lab: Lab, use_case: UseCase) -> Batch:
    """The newest batch that could be stored. A training without a new batch belongs to it.

    Raises `LabError` when there is none.
    """
    lab.store.prepare_tables(use_case)
    usable = [b for b in lab.ledger.batches(use_case.name) if b.mlflow_run and b.state not in CLOSED]
    if not usable:
        raise LabError(f"{use_case.name} has no batch yet; run `lab run {use_case.name}` first")
    return usable[-1]


@timed
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
        payload, problems, counts = _check_rows(lab, use_case, batch)
    except BatchShapeError as error:
        lab.ledger.note(batch_id, state="broken", fault=str(error), checks=misshapen(str(error)))
        raise BatchShapeError(f"{error}; the payload is kept as {batch.payload}") from None

    lab.tracking.describe(use_case)
    run = batch.mlflow_run or lab.tracking.start(
        use_case.name,
        f"batch-{batch.batch_number}",
        BatchTags(
            batch_id=batch.id, batch_number=batch.batch_number, payload=batch.payload, digest=batch.digest
        ),
    )
    checks = check_arrival(lab, use_case, batch, payload.columns, counts["received"], problems)
    lab.ledger.note(batch_id, mlflow_run=run, checks=checks)
    tags = BatchTags(ignored_columns=", ".join(payload.ignored))
    lab.tracking.log(run, metrics=counts | {"gap": batch.gap}, tags=tags)
    lab.tracking.log_json(run, "quarantine.json", records(problems, QUARANTINE_SHOWN))
    lab.progress(
        "{received:,} rows received, {stored:,} stored, {quarantined:,} quarantined".format(**counts)
    )
    broken = by_rule(problems)
    for one in broken[:RULES_SHOWN]:
        lab.progress(f"quarantined: {one.column} {one.message} ({counted(one.rows, 'row')})")
    if len(broken) > RULES_SHOWN:
        lab.progress(
            f"quarantined: {len(broken) - RULES_SHOWN} more; `lab quarantine {use_case.name}` lists them"
        )


def _check_rows(lab: Lab, use_case: UseCase, batch: Batch) -> tuple[RawBatch, list[Problem], dict[str, int]]:
    """Reads, checks and stores the batch's rows, some at a time, and hands the good ones to `prepare`.

    Returns the last part of the payload, which knows all columns; the problems; and the counts of `Store.put_raw`.
    """
    payload = Payload(lab.artifacts.get(batch.payload), use_case)
    # A rule of the use case sees all rows of the batch at once.
    size = sys.maxsize if use_case.rules else CHUNK
    last = RawBatch(None, [], [], [], [])
    problems: list[Problem] = []
    handover = checked_rows.Handover(use_case, batch)

    def parts() -> Iterator["tuple[RawBatch, pd.DataFrame, list[Problem]]"]:
        nonlocal last, handover
        problems.clear()
        handover = checked_rows.Handover(use_case, batch)
        for last in payload.chunks(size):
            checked = validate_rows(last, use_case)
            kept = with_split(use_case, checked.typed)
            problems.extend(checked.problems)
            handover.add(kept)
            yield last, kept, checked.problems

    while True:
        with suppress(AgainError):
            counts = lab.store.put_raw(use_case, batch.id, parts())
            break
    checked_rows.clear(lab.artifacts, use_case)
    handover.store(lab.artifacts, use_case, batch)
    return last, problems, counts


def _checked(lab: Lab, use_case: UseCase, batch: Batch) -> "pd.DataFrame":
    """The batch's good rows, typed, with group_hash and split."""
    try:
        return checked_rows.take(lab.artifacts, use_case, batch)
    except checked_rows.DamagedError as fault:
        lab.progress(
            f"the checked rows of batch {batch.batch_number} {fault}; they are read from RawData again"
        )
        return lab.store.read_raw(use_case, batch.id)


@timed
def prepare(lab: Lab, use_case: UseCase, batch_id: int) -> None:
    """Writes the batch's rows of RawData to CleanData: cleaned, each distinct row once, with its split; and the same
    rows as a snapshot into the bucket.

    A batch that is done stays as it is. Raises `HeldBatchError`, with nothing written, when a check of the batch fails.
    """
    batch = lab.ledger.batch(batch_id)
    if batch.state == "done":
        lab.progress(f"batch {batch.batch_number} is prepared already")
        return
    typed = _checked(lab, use_case, batch)
    prepared = prepare_rows(use_case, typed)
    distinct = prepared.frame[~prepared.frame["row_hash"].duplicated()]
    known = lab.store.known_rows(use_case, batch_id, distinct["row_hash"].tolist())
    check_content(lab, use_case, batch, typed, prepared.frame, len(known))
    new = distinct[~distinct["row_hash"].isin(known)]
    # First into the bucket: when it is full, CleanData stays as it is, and the next run prepares the batch again.
    rows = clean_rows.from_frame(use_case, new)
    record = lab.snapshots.write(use_case, batch_id, rows)
    lab.store.put_clean(use_case, batch_id, rows)
    counts = {"clean": len(new), "dropped": prepared.dropped, "duplicates": len(prepared.frame) - len(new)}
    lab.ledger.note(batch_id, state="prepared", **counts, **record)
    lab.snapshots.keep(use_case, lab.ledger.batch(batch_id))
    checked_rows.clear(lab.artifacts, use_case)
    lab.tracking.log(batch.run, metrics=counts)
    lab.progress("{clean:,} new clean rows, {duplicates:,} duplicates, {dropped:,} dropped".format(**counts))


@timed
def finish(lab: Lab, use_case: UseCase, batch_id: int) -> bool:
    """Marks the batch as done, unless it is closed. Returns whether the next batch may be requested at once."""
    batch = lab.ledger.batch(batch_id)
    if batch.state not in CLOSED:
        lab.ledger.note(batch_id, state="done", fault=None)
        lab.tracking.end(batch.run)
    if (reason := fruitless(lab, use_case)) is not None:
        lab.progress(reason)
    return reason is None


def fruitless(lab: Lab, use_case: UseCase) -> str | None:
    """Why no further batch is requested at once: the newest ones brought no row, or are held. None: it may be."""
    newest = lab.ledger.batches(use_case.name)[-FRUITLESS:]
    if len(newest) < FRUITLESS or any(batch.stored and batch.state != "held" for batch in newest):
        return None
    held = " that may be learnt from" if any(batch.state == "held" for batch in newest) else ""
    return (
        f"the newest {FRUITLESS} batches of {use_case.name} brought no row{held}; "
        f"`lab status {use_case.name}` has the reasons, then check LAB_DATA_API_URL and the use case's file"
    )


def reset(lab: Lab, use_case: UseCase) -> None:
    """Removes all rows, models, runs, payloads and snapshots of a use case, and restarts its data.

    Logged predictions stay. Raises `BusyError` when another process works on the use case.
    """
    with lab.turns.hold(use_case.name):
        lab.store.create_tables()
        lab.store.reset(use_case)
        lab.tracking.delete_runs(use_case.name)
        lab.artifacts.delete(f"payloads/{use_case.name}")
        lab.snapshots.reset(use_case)
        checked_rows.clear(lab.artifacts, use_case)
        with lab.incoming.slot(use_case.name) as slot:
            slot.clear()
        lab.source.restart(use_case.dataset)
