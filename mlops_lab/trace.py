"""Lineage: from one prediction to its model, the model's run, its training batches and their payloads.

The sources are the prediction log and the batch ledger in RawData, the registry, the model's contract and the bucket.
"""

import json
from typing import Any

from mlops_lab.data.artifacts import ArtifactError
from mlops_lab.data.tables import Batch
from mlops_lab.errors import LabError, ModelError
from mlops_lab.formatting import row_counts
from mlops_lab.lab import Lab
from mlops_lab.model.registry import CHAMPION


class TraceError(LabError):
    """The prediction log has no such prediction."""


def trace_prediction(lab: Lab, prediction_id: str) -> dict[str, Any]:
    """From one prediction back to the stored payloads, as JSON types.

    `prediction` (row, value, request id, feedback), `model` (version, run, aliases, candidate, commit), `batches`
    (as `trace_batch` gives them, oldest first). Raises `TraceError` when the log has no such prediction, and
    `ModelError` when its version is gone from the registry.
    """
    lab.store.create_tables()
    found = lab.predictions.prediction(prediction_id)
    if found is None:
        raise TraceError(
            f"the prediction log has no prediction {prediction_id!r}; "
            "it is written about a second after the reply, and stays in the service's spool while the database is away"
        )
    version = lab.registry.version(found.use_case, found.version)
    if version.run_id != found.run_id:
        raise ModelError(
            f"the version {found.version} that predicted it was removed by `lab reset {found.use_case}`"
        )
    contract = lab.predictor(version).contract
    lineage = contract.lineage
    if lineage is None:
        raise ModelError(f"version {found.version} of {found.use_case} has no lineage")
    champion = lab.registry.by_alias(found.use_case, CHAMPION)
    return {
        "prediction": {
            "id": found.id,
            "use_case": found.use_case,
            "predicted_at": found.predicted_at,
            "request_id": found.request_id,
            "row": found.row,
            "prediction": found.prediction,
            "probabilities": found.probabilities,
            "feedback": [
                {"actual": f.actual, "group_key": f.group_key, "received_at": f.received_at}
                for f in lab.predictions.feedback_of(prediction_id)
            ],
        },
        "model": {
            "version": found.version,
            "run_id": lineage.run_id,
            "candidate": lineage.candidate,
            "digest": version.digest,
            "trained_at": lineage.created_at,
            "commit": lineage.commit,
            "rows": lineage.rows,
            "champion": champion is not None and champion.version == found.version,
        },
        "batches": [trace_batch(lab, lab.ledger.batch(number)) for number in lineage.read_batches],
    }


def trace_batch(lab: Lab, batch: Batch) -> dict[str, Any]:
    """One batch: its entry in the ledger, its run, its payload, and the versions that were trained for it."""
    size, fault = None, None
    if batch.payload_deleted_at:
        fault = f"deleted on {batch.payload_deleted_at:%Y-%m-%d}, when it was past LAB_PAYLOADS_DAYS"
    else:
        try:
            size = len(lab.artifacts.get(batch.payload))
        except ArtifactError as error:
            fault = str(error)
    return {
        "id": batch.id,
        "use_case": batch.use_case,
        "batch_number": batch.batch_number,
        "state": batch.state,
        "received": batch.received,
        "stored": batch.stored,
        "quarantined": batch.quarantined,
        "clean": batch.clean,
        "decision": batch.decision,
        "reason": batch.reason,
        "run_id": batch.mlflow_run,
        "payload": f"{lab.settings.artifacts}/{batch.payload}",
        "payload_bytes": size,
        "payload_fault": fault,
        "digest": batch.digest,
        "versions": lab.ledger.models_of_batch(batch.use_case, batch.id),
    }


def lines(found: dict[str, Any]) -> list[str]:
    """A prediction's lineage as lines to read."""
    prediction, model = found["prediction"], found["model"]
    output = [
        f"prediction {prediction['id']}: {json.dumps(prediction['prediction'])} "
        f"at {prediction['predicted_at']:%Y-%m-%d %H:%M:%S} UTC, request {prediction['request_id']}",
        f"  row {json.dumps(prediction['row'], ensure_ascii=False)}",
        *(f"  ground truth {json.dumps(f['actual'])}" for f in prediction["feedback"]),
        f"model {prediction['use_case']} version {model['version']} ({model['candidate']}"
        f"{', the champion' if model['champion'] else ''}), digest {model['digest'][:12]}",
        f"run {model['run_id']}, code {(model['commit'] or 'unknown')[:12]}, "
        f"{model['rows']['train']:,} training rows",
    ]
    for batch in found["batches"]:
        output += batch_lines(batch)
    return output


def batch_lines(batch: dict[str, Any]) -> list[str]:
    """A batch's lineage as lines to read."""
    size = batch["payload_fault"] or f"{batch['payload_bytes']:,} bytes"
    trained = ", ".join(map(str, batch["versions"])) or "none"
    return [
        f"batch {batch['batch_number']} (ledger {batch['id']}, {batch['state']}): {row_counts(batch)}",
        f"  run {batch['run_id']}, versions trained: {trained}",
        f"  payload {batch['payload']} ({size})",
    ]
