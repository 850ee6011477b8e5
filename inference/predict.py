"""`POST /predict/{use_case}`: rows in, predictions out, and an entry in the prediction log for each."""

import os
import time
from typing import Any

import numpy as np

from inference.body import check_values, parse, rows_of
from inference.champions import Champion
from inference.endpoint import Call, Reply
from inference.log_entries import prediction_entries
from inference.service import Service


def respond(service: Service, call: Call) -> Reply:
    """Predicts the rows of a body by the use case's champion, logs them, and counts them for drift.

    Raises `BadBody`, `TooLarge`, `ContractError`, `NoChampionError`, `UnknownUseCase`, `ModelError`.
    """
    champion, rows, matrix = _read(service, call)
    contract = champion.contract
    result = champion.predictor.predict_encoded(matrix)
    champion.drift.add(matrix)
    probabilities = None
    if result.probabilities is not None:
        probabilities = [dict(zip(contract.classes, row, strict=True)) for row in result.probabilities]
    ids = _new_ids(len(rows))
    service.log.add(prediction_entries(champion, ids, rows, result.values, probabilities))
    content: dict[str, Any] = {"predictions": result.values, "model": champion.name, "prediction_ids": ids}
    if probabilities is not None:
        content["probabilities"] = probabilities
    if contract.task == "binary":
        content["threshold"] = contract.threshold
    return Reply(champion, content, len(rows))


def _read(service: Service, call: Call) -> tuple[Champion, list[Any], np.ndarray]:
    """(champion, typed rows, encoded rows)."""
    check_values(call.body)
    limit = service.settings.inference_max_rows
    champion = service.champions.find(call.use_case)
    if champion and (decoded := champion.decoder.decode(call.body)) and len(decoded.rows) <= limit:
        return champion, decoded.rows, decoded.matrix
    rows = rows_of(parse(call.body), limit)
    champion = service.champions.get(call.use_case)
    typed = champion.contract.read(rows)
    return champion, typed, champion.contract.encode(typed)


def _new_ids(n: int) -> list[str]:
    """32 hexadecimal digits each: milliseconds first, so that the index grows at its end, then 80 random bits."""
    moment = f"{time.time_ns() // 1_000_000:012x}"
    random = os.urandom(10 * n).hex()
    return [moment + random[i : i + 20] for i in range(0, 20 * n, 20)]
