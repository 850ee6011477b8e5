"""`POST /feedback`: the true value of an earlier prediction, checked as the pipeline checks its target."""

import re
import uuid
from typing import Any

import orjson

from inference.body import parse
from inference.endpoint import Call, Endpoint
from inference.errors import CannotStore, problem
from inference.prediction_log import SpoolError
from mlops_lab.contract import TEXT_LIMIT, Contract, FieldError
from mlops_lab.data.database import now

_FIELDS = ("prediction_id", "actual", "group_key", "use_case")
_ID = re.compile(r"[0-9a-f]{32}")
_MOST_KEYS = 50


class Feedback(Endpoint):
    """Replies 202 once the value stands in the spool."""

    kind = "feedback"

    def respond(self, call: Call) -> bytes:
        body = parse(call.body)
        if not isinstance(body, dict):
            raise problem("", "type", "the body must be an object with prediction_id and actual")
        if unknown := [name for name in body if name not in _FIELDS]:
            raise problem(unknown[0][:60], "unknown", f"is not one of {', '.join(_FIELDS)}")
        use_case = body.get("use_case", call.use_case)
        if not isinstance(use_case, str):
            raise problem("use_case", "type", "must be the name of a use case")
        call.use_case = use_case
        champion = call.champion = self.service.champions.get(use_case)
        prediction_id = body.get("prediction_id")
        if not isinstance(prediction_id, str) or not _ID.fullmatch(prediction_id):
            raise problem(
                "prediction_id", "type", "must be an id that /predict has replied, 32 hexadecimal digits"
            )
        entry = {
            "table": "feedback",
            "id": uuid.uuid4().hex,
            "prediction_id": prediction_id,
            "use_case": use_case,
            "actual": _actual(champion.contract, body),
            "group_key": _group_key(body.get("group_key")),
            "received_at": now(),
        }
        try:
            self.service.log.put(entry)
        except SpoolError as error:
            raise CannotStore(str(error)) from error
        call.status = 202
        return orjson.dumps(
            {"feedback_id": entry["id"], "prediction_id": prediction_id, "use_case": use_case}
        )


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
    """Column name to value; what the columns are is the use case's business, so only the form is checked."""
    if key is None:
        return None
    if not isinstance(key, dict) or not 0 < len(key) <= _MOST_KEYS:
        raise problem("group_key", "type", f"must be an object of 1 to {_MOST_KEYS} columns and their values")
    for name, value in key.items():
        if isinstance(value, dict | list) or max(len(name), len(str(value))) > TEXT_LIMIT:
            raise problem(
                "group_key", "type", f"{name[:60]} must be a number or a text of at most {TEXT_LIMIT}"
            )
    return key
