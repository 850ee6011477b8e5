"""`POST /predict/{use_case}`: rows in, predictions out, and an entry in the prediction log for each."""

import os
import time
from typing import Any

import orjson

from inference.body import parse, rows_of
from inference.champions import Champion
from inference.endpoint import Call, Endpoint
from mlops_lab.data.database import now
from mlops_lab.logs import request_id
from mlops_lab.model.predictor import Predicted


class Predict(Endpoint):
    """One row or many in; predictions, ids and (for classifiers) probabilities out."""

    kind = "predict"
    quick = True

    def respond(self, call: Call) -> bytes:
        champion = call.champion = self.service.champions.get(call.use_case)
        rows = rows_of(parse(call.body), self.service.settings.inference_max_rows)
        contract = champion.contract
        typed = contract.read(rows)
        matrix = contract.encode(typed)
        found = champion.predictor.predict_encoded(typed, matrix)
        call.rows = len(rows)
        champion.drift.add(matrix)
        ids = _new_ids(len(rows))
        probabilities = named_probabilities(champion, found)
        self.service.log.add(_entries(champion, found, probabilities, ids))
        reply = {"predictions": found.values, "model": champion.name, "prediction_ids": ids}
        if probabilities is not None:
            reply["probabilities"] = probabilities
            if contract.task == "binary":
                reply["threshold"] = contract.threshold
        return orjson.dumps(reply)


def named_probabilities(champion: Champion, found: Predicted) -> list[dict[str, float]] | None:
    """By class; None for a regression."""
    if found.probabilities is None:
        return None
    classes = champion.contract.classes
    return [dict(zip(classes, row, strict=True)) for row in found.probabilities]


def _new_ids(n: int) -> list[str]:
    """32 hexadecimal digits each: milliseconds first, so that the index grows at its end, then 80 random bits."""
    moment = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10 * n).hex()
    return [moment + random[i : i + 20] for i in range(0, 20 * n, 20)]


def _entries(
    champion: Champion, found: Predicted, probabilities: list[dict[str, float]] | None, ids: list[str]
) -> list[dict[str, Any]]:
    common = {
        "table": "predictions",
        "use_case": champion.use_case,
        "version": champion.version.version,
        "run_id": champion.version.run_id,
        "request_id": request_id.get(),
        "predicted_at": now(),
    }
    return [
        {**common, "id": ids[i], "row": found.rows[i], "prediction": value}
        | {"probabilities": None if probabilities is None else probabilities[i]}
        for i, value in enumerate(found.values)
    ]
