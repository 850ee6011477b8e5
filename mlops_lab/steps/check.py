"""The named checks of a batch: their record, and the stop of a batch of which one fails."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from mlops_lab.data.payload import HeldBatchError
from mlops_lab.data.tables import Batch
from mlops_lab.data.validate import Problem
from mlops_lab.lab import Lab
from mlops_lab.model.batch_checks import FAIL, PASS, WARN, BatchCheck, content, ranges, schema
from mlops_lab.model.registry import CHAMPION
from mlops_lab.model.tags import BatchTags
from mlops_lab.use_case import UseCase

# The checks of a payload's form, which are made before its rows are stored.
ARRIVAL = ("schema", "ranges")


def misshapen(fault: str) -> list[dict[str, Any]]:
    """The record of a payload that isn't a batch of the use case, such as one without a column that it declares."""
    return [asdict(BatchCheck("schema", FAIL, fault))]


def check_arrival(
    lab: Lab,
    use_case: UseCase,
    batch: Batch,
    present: Sequence[str],
    received: int,
    problems: Sequence[Problem],
) -> list[dict[str, Any]]:
    """The record of the checks of the payload: the columns that are present, and the rows in quarantine."""
    before = [
        columns for other in lab.ledger.batches(use_case.name) if (columns := _columns(other, batch.id))
    ]
    found = [
        schema(present, use_case, before[-1] if before and present else None),
        ranges(received, problems, use_case.checks),
    ]
    return [asdict(check) for check in found]


def check_content(
    lab: Lab, use_case: UseCase, batch: Batch, typed: pd.DataFrame, clean: pd.DataFrame, known: int
) -> None:
    """Makes the checks of the rows, and records all checks of the batch in the ledger and in its run.

    typed, clean, known: as in `mlops_lab.model.batch_checks.content`.
    Raises `HeldBatchError` when a check fails, unless a person accepted the batch: nothing was learnt from it yet.
    """
    champion = lab.registry.by_alias(use_case.name, CHAMPION)
    served, _ = lab.predictor_or_fault(champion) if champion else (None, "")
    arrival = [BatchCheck(**found) for found in batch.checks or [] if found["name"] in ARRIVAL]
    found = [*arrival, *content(use_case, typed, clean, known, served.contract if served else None)]
    record = [asdict(check) for check in found]
    lab.ledger.note(batch.id, checks=record)
    lab.tracking.log(batch.run, tags=BatchTags(checks=_summary(found)))
    lab.tracking.log_json(batch.run, "checks.json", record)
    for check in found:
        if check.outcome != PASS:
            lab.progress(f"check {check.name}: {check.outcome}, {check.text}")
    failed = [f"{check.name} ({check.text})" for check in found if check.outcome == FAIL]
    if not failed:
        return
    if batch.accepted_at is not None:
        why = f": {batch.accepted_reason}" if batch.accepted_reason else ""
        accepted = f"by {batch.accepted_by}{why}; failed checks: {'; '.join(failed)}"
        lab.tracking.log(batch.run, tags=BatchTags(outcome="accepted", outcome_reason=accepted))
        lab.progress(f"accepted {accepted}")
        return
    fault = (
        f"failed checks: {'; '.join(failed)}; its rows are kept and not learnt from: "
        f"`lab accept {use_case.name} {batch.batch_number}` lets it go on"
    )
    lab.ledger.note(batch.id, state="held", fault=fault)
    lab.tracking.log(batch.run, tags=BatchTags(outcome="held", outcome_reason=fault))
    lab.tracking.end(batch.run)
    raise HeldBatchError(f"batch {batch.batch_number} is held back, {fault}")


def _columns(other: Batch, before: int) -> list[str]:
    """The columns of an earlier batch's payload, when they are known."""
    if other.id >= before:
        return []
    return next(
        (check["figures"].get("columns", []) for check in other.checks or [] if check["name"] == "schema"), []
    )


def _summary(found: Sequence[BatchCheck]) -> str:
    """Such as `fail: ranges; warn: nulls, drift; pass: 6`."""
    by = {outcome: [check.name for check in found if check.outcome == outcome] for outcome in (FAIL, WARN)}
    says = [f"{outcome}: {', '.join(names)}" for outcome, names in by.items() if names]
    return "; ".join([*says, f"pass: {sum(check.outcome == PASS for check in found)}"])
