"""`POST /predict/{use_case}`: rows in, predictions out, and an entry in the prediction log for each."""

import os
import time
from typing import Any

from inference.body import parse, rows_of
from inference.endpoint import Call, Reply
from inference.prediction_log import prediction_entries
from inference.service import Service


def respond(service: Service, call: Call) -> Reply:
    """The reply to a body of one row or many."""
    rows = rows_of(parse(call.body), service.settings.inference_max_rows)
    return predict(service, call.use_case, rows)


def predict(service: Service, use_case: str, rows: list[dict[str, Any]]) -> Reply:
    """Predicts raw rows (JSON types) by the use case's champion, logs them, and counts them for drift.

    Raises `ContractError`, `NoChampionError`, `UnknownUseCase`, `ModelError`.
    """
    champion = service.champions.get(use_case)
    contract = champion.contract
    typed = contract.read(rows)
    matrix = contract.encode(typed)
    result = champion.predictor.predict_encoded(typed, matrix)
    champion.drift.add(matrix)
    probabilities = None
    if result.probabilities is not None:
        probabilities = [dict(zip(contract.classes, row, strict=True)) for row in result.probabilities]
    ids = _new_ids(len(rows))
    service.log.add(prediction_entries(champion, result, probabilities, ids))
    content: dict[str, Any] = {"predictions": result.values, "model": champion.name, "prediction_ids": ids}
    if probabilities is not None:
        content["probabilities"] = probabilities
    if contract.task == "binary":
        content["threshold"] = contract.threshold
    return Reply(champion, content, len(rows))


def _new_ids(n: int) -> list[str]:
    """32 hexadecimal digits each: milliseconds first, so that the index grows at its end, then 80 random bits."""
    moment = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10 * n).hex()
    return [moment + random[i : i + 20] for i in range(0, 20 * n, 20)]
