"""`POST /predict/{use_case}`: rows in, predictions out, and an entry in the prediction log for each."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from inference.arrow import ARROW, PARQUET, read_arrow, read_parquet, write
from inference.body import CSV, JSON, check_rows, check_values, parse, rows_of
from inference.csv_rows import read_csv
from inference.endpoint import Call, Reply
from inference.errors import BadKey
from inference.loaded import Champion
from inference.log_entries import PredictionEntry, new_ids, prediction_entries
from inference.service import Service
from inference.trials import answering
from mlops_lab.tabular import csv_lines, interval_columns, prediction_columns, rows_of_columns

# Characters of an Idempotency-Key.
MAX_KEY = 200
# The query parameter that asks for prediction intervals.
INTERVAL = "interval"
# The content types of a body, and of a reply.
ACCEPTED = (JSON, CSV, ARROW, PARQUET)


@dataclass(frozen=True)
class Predictions:
    """The predictions for n rows, and what is logged of them.

    probabilities: classifiers: for each row, by the class; else None.
    """

    champion: Champion
    ids: list[str]
    values: list[Any]
    probabilities: list[dict[str, float]] | None
    entries: list[PredictionEntry]


def respond(service: Service, call: Call) -> Reply:
    """The reply to the rows of a body, of any type in `ACCEPTED`.

    Raises `BadBody`, `TooLarge`, `UnknownUseCase`, and what `predict` raises.
    """
    interval = call.flag(INTERVAL)
    found = _predict_json(service, call) if call.content_type == JSON else _predict_table(service, call)
    champion = found.champion
    if wanted := _wanted(call.header("accept")):
        columns = _columns(found, interval)
        table = csv_lines(columns) if wanted == CSV else write(columns, wanted)
        return Reply(champion, table, len(found.ids), content_type=wanted, entries=found.entries)
    content: dict[str, Any] = {
        "predictions": found.values,
        "model": champion.name,
        "prediction_ids": found.ids,
        "processing_ms": call.milliseconds(),
    }
    if found.probabilities is not None:
        content["probabilities"] = found.probabilities
    if champion.contract.task == "binary":
        content["threshold"] = champion.contract.threshold
    if interval:
        content |= intervals(found)
    return Reply(champion, content, len(found.ids), entries=found.entries)


def intervals(found: Predictions) -> dict[str, Any]:
    """What a reply says of the intervals; null when the model has none."""
    predictor = found.champion.predictor
    fitted = predictor.contract.interval
    return {
        "intervals": predictor.intervals(found.values),
        "interval_level": fitted.level if fitted else None,
    }


def predict(service: Service, champion: Champion, call: Call, rows: list[dict[str, Any]]) -> Predictions:
    """Predicts a request's raw rows (JSON types); the reply has to have the entries of the log.

    Raises `TooLarge`, `ContractError`, `ModelError`, `BadKey`.
    """
    check_rows(len(rows), service.settings.inference_max_rows)
    if decoded := champion.decoder.take(rows):
        return _predict(service, champion, call, decoded.rows, decoded.matrix)
    typed = champion.contract.read(rows)
    return _predict(service, champion, call, typed, champion.contract.encode(typed))


def predict_columns(
    service: Service, champion: Champion, call: Call, columns: dict[str, list[Any]]
) -> Predictions:
    """The same for raw rows as columns of the same length."""
    check_rows(len(next(iter(columns.values()), [])), service.settings.inference_max_rows)
    if decoded := champion.decoder.take_columns(columns):
        return _predict(service, champion, call, decoded.rows, decoded.matrix)
    return predict(service, champion, call, rows_of_columns(columns))


def _predict_json(service: Service, call: Call) -> Predictions:
    check_values(call.body)
    champion = service.champions.find(call.use_case)
    if champion and champion.challenger is not None:
        champion = answering(champion, call)
    decoded = champion.decoder.decode(call.body) if champion else None
    if champion and decoded:
        check_rows(len(decoded.rows), service.settings.inference_max_rows)
        return _predict(service, champion, call, decoded.rows, decoded.matrix)
    # What is wrong with the body comes before what is wrong with the use case.
    rows = rows_of(parse(call.body))
    return predict(service, champion or service.champions.get(call.use_case), call, rows)


def _predict_table(service: Service, call: Call) -> Predictions:
    champion = answering(service.champions.get(call.use_case), call)
    limit = service.settings.inference_max_rows
    if call.content_type == CSV:
        return predict(service, champion, call, read_csv(call.body))
    read = read_parquet if call.content_type == PARQUET else read_arrow
    return predict_columns(service, champion, call, read(call.body, limit))


def _wanted(accept: str | None) -> str | None:
    """The first type of an Accept header that is written here; None for JSON."""
    names = (part.partition(";")[0].strip().lower() for part in (accept or "").split(","))
    found = next((name for name in names if name in ACCEPTED), JSON)
    return None if found == JSON else found


def _columns(found: Predictions, interval: bool) -> dict[str, list[Any]]:
    probabilities = None
    if found.probabilities is not None:
        probabilities = [row.values() for row in found.probabilities]
    columns = prediction_columns(found.ids, found.values, found.champion.contract.classes, probabilities)
    if interval and (limits := found.champion.predictor.intervals(found.values)) is not None:
        columns |= interval_columns(limits)
    return columns


def _predict(
    service: Service, champion: Champion, call: Call, rows: list[Any], matrix: np.ndarray
) -> Predictions:
    """Predicts typed and encoded rows, and counts them for drift."""
    ids = _ids(call, len(rows))
    found = champion.predictor.predict_encoded(matrix)
    champion.drift.add(matrix)
    probabilities = champion.by_class(found)
    entries = prediction_entries(champion, call.moment, ids, rows, found.values, probabilities)
    return Predictions(champion, ids, found.values, probabilities, entries)


def _ids(call: Call, n: int) -> list[str]:
    """New ids; with an Idempotency-Key, the same ones for the same key and body.

    The log keeps the first entry of each id, so a retry isn't logged again. Raises `BadKey`.
    """
    key = call.header("idempotency-key")
    if key is None:
        return new_ids(n)
    if not 0 < len(key) <= MAX_KEY:
        raise BadKey(f"Idempotency-Key must have 1 to {MAX_KEY} characters")
    seed = hashlib.sha256(b"\0".join((call.use_case.encode(), key.encode(), call.body))).digest()
    return [hashlib.sha256(seed + index.to_bytes(4)).hexdigest()[:32] for index in range(n)]
