"""`POST /feedback`: the ground truth of an earlier prediction, checked as the pipeline checks its target."""

import re
import uuid
from typing import Any

from inference.body import parse
from inference.endpoint import Call, Reply
from inference.errors import CannotStore, problem
from inference.log_entries import FeedbackEntry
from inference.service import Service
from inference.spool import SpoolError
from mlops_lab.contract import Contract
from mlops_lab.data.database import now
from mlops_lab.features import TEXT_LIMIT, FieldError

_FIELDS = ("prediction_id", "actual", "group_key", "use_case")
_ID = re.compile(r"[0-9a-f]{32}")
MAX_KEYS = 50


def respond(service: Service, call: Call) -> Reply:
    """202 once the value is in the spool."""
    body = parse(call.body)
    if not isinstance(body, dict):
        raise problem("", "type", "the body must be an object with prediction_id and actual")
    if unknown := [name for name in body if name not in _FIELDS]:
        raise problem(unknown[0][:60], "unknown", f"is not one of {', '.join(_FIELDS)}")
    use_case = body.get("use_case", call.use_case)
    if not isinstance(use_case, str):
        raise problem("use_case", "type", "must be the name of a use case")
    call.use_case = use_case
    champion = service.champions.get(use_case)
    prediction_id = body.get("prediction_id")
    if not isinstance(prediction_id, str) or not _ID.fullmatch(prediction_id):
        raise problem(
            "prediction_id", "type", "must be an id that /predict has replied, 32 hexadecimal digits"
        )
    actual: Any = _actual(champion.contract, body)
    group_key: Any = _group_key(body.get("group_key"))
    entry = FeedbackEntry(uuid.uuid4().hex, prediction_id, use_case, actual, group_key, now())
    try:
        service.log.put(entry)
    except SpoolError as error:
        raise CannotStore(str(error)) from error
    content = {"feedback_id": entry.id, "prediction_id": prediction_id, "use_case": use_case}
    return Reply(champion, content, status=202)


def _actual(contract: Contract, body: dict[str, Any]) -> Any:
    try:
        if "actual" not in body:
            raise FieldError("missing", "is missing")
        value = contract.target.read(body["actual"], frozenset(contract.missing))
        if value is None:
            raise FieldError("missing", "must not be null")
    except FieldError as error:
        raise problem("actual", error.rule, str(error)) from None
    return value


def _group_key(key: Any) -> dict[str, Any] | None:
    """Column name to value. Only types and lengths are checked: the contract has no list of the key's columns."""
    if key is None:
        return None
    if not isinstance(key, dict) or not 0 < len(key) <= MAX_KEYS:
        raise problem("group_key", "type", f"must be an object of 1 to {MAX_KEYS} columns and their values")
    for name, value in key.items():
        if isinstance(value, (dict, list)) or max(len(name), len(str(value))) > TEXT_LIMIT:
            raise problem(
                "group_key", "type", f"{name[:60]} must be a number or a text of at most {TEXT_LIMIT}"
            )
    return key
