"""Why a batch led to a training or not, and why a version became champion or not: told from their records."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from mlops_lab.data.tables import Batch, Promotion
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted, row_counts
from mlops_lab.lab import Lab
from mlops_lab.use_case import UseCase

# What the ledger has of a decision on a batch.
BATCH = ("batch_number", "state", "fault", "received", "quarantined", "clean", "decision", "reason", "checks")
ACCEPTED = ("accepted_by", "accepted_at", "accepted_reason")


def why_batch(lab: Lab, use_case: UseCase, number: int | None = None) -> dict[str, Any]:
    """The decisions on the newest batch with this number, by default on the newest batch, as JSON types.

    `batch` (counts, checks, decision, reason, who accepted it), `versions` (those trained for it, each as `why_version`
    gives it). Raises `LabError` when there is no such batch.
    """
    lab.store.prepare_tables(use_case)
    batches = [batch for batch in lab.ledger.batches(use_case.name) if number in (None, batch.batch_number)]
    if not batches:
        which = "batch" if number is None else f"batch {number}"
        raise LabError(f"{use_case.name} has no {which}; `lab status {use_case.name}` lists them")
    batch, history = batches[-1], lab.ledger.promotions(use_case.name)
    return {
        "use_case": use_case.name,
        "batch": _batch(batch),
        "versions": [
            _version(lab, use_case, version, history)
            for version in lab.ledger.models_of_batch(use_case.name, batch.id)
        ],
    }


def why_version(lab: Lab, use_case: UseCase, version: int) -> dict[str, Any]:
    """The decisions on a version, as JSON types, with those on the batch that it was trained for.

    `batch` is None when the ledger doesn't have it. Raises `ModelError` when there is no such version.
    """
    lab.store.prepare_tables(use_case)
    found = _version(lab, use_case, version, lab.ledger.promotions(use_case.name))
    record = lab.ledger.model(use_case.name, version)
    batch = _batch(lab.ledger.batch(record.batch_id)) if record else None
    return {"use_case": use_case.name, "batch": batch, "versions": [found]}


def lines(found: dict[str, Any]) -> list[str]:
    """The same as lines to read."""
    batch = found["batch"]
    said = _batch_lines(batch) if batch else ["the ledger doesn't know the batch of this version"]
    for version in found["versions"]:
        said.append(_version_line(version))
        if version["left_out"]:
            said.append(f"  {version['left_out']}")
        decisions = version["decisions"]
        said += [f"  {_decision_line(version['version'], one, one is decisions[-1])}" for one in decisions]
    return said


def _batch(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in (*BATCH, *ACCEPTED)}


def _version(lab: Lab, use_case: UseCase, number: int, history: Sequence[Promotion]) -> dict[str, Any]:
    """What the registry's tags and the recorded decisions say of a version."""
    facts = lab.registry.version(use_case.name, number).facts
    return {
        "version": number,
        "candidate": facts.candidate,
        "metric": facts.metric,
        "validation": facts.validation,
        "outcome": facts.outcome,
        "reason": facts.reason,
        "sealed": facts.sealed_words,
        "left_out": facts.left_out,
        "decisions": [asdict(row) for row in history if row.challenger == number],
    }


def _batch_lines(batch: dict[str, Any]) -> list[str]:
    said = [f"batch {batch['batch_number']} ({batch['state']}): {row_counts(batch)}"]
    checks = batch["checks"] or []
    if checks:
        # A check's text may be that of a foreign column.
        odd = [
            f"{check['name']} {check['outcome']}, {check['text']}"
            for check in checks
            if check["outcome"] != "pass"
        ]
        said.append(f"  checks: {'; '.join(odd) or f'all {len(checks)} pass'}")
    if batch["accepted_by"]:
        reason = f": {batch['accepted_reason']}" if batch["accepted_reason"] else ""
        said.append(
            f"  accepted by {batch['accepted_by']} at {batch['accepted_at']:%Y-%m-%d %H:%M} UTC{reason}"
        )
    if batch["fault"]:
        said.append(f"  {batch['state']}: {batch['fault']}")
    decided = f"{batch['decision']}, {batch['reason']}" if batch["decision"] else "none yet"
    said.append(f"  decision: {decided}")
    return said


def _version_line(version: dict[str, Any]) -> str:
    score = (
        ""
        if version["validation"] is None
        else f", {version['metric']} {version['validation']:.4g} on validation"
    )
    score += f"; later, as champion, {version['sealed']}" if version["sealed"] else ""
    if version["decisions"]:
        return f"version {version['version']} ({version['candidate']}{score})"
    outcome = version["outcome"] or "not decided on"
    reason = f", {version['reason']}" if version["reason"] else ""
    return f"version {version['version']} ({version['candidate']}{score}): {outcome}{reason}"


def _decision_line(version: int, decision: dict[str, Any], last: bool) -> str:
    """One recorded promotion, refusal, rollback or question to a person; the last one may still wait."""
    champion, outcome = decision["champion"], decision["outcome"]
    if outcome == "rolled back":
        against = f" to version {champion}" if champion != version and champion is not None else ""
    else:
        against = " as the first champion" if champion is None else f" against version {champion}"
    rows = f" ({counted(decision['holdout_rows'], 'test row')})" if decision["holdout_rows"] else ""
    reason = Promotion(**decision).said if last else decision["reason"]
    return f"{decision['decided_at']:%Y-%m-%d %H:%M} UTC: {outcome}{against}{rows}: {reason}"
