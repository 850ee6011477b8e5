"""The typed errors of requests, and the one place where an error becomes a reply."""

from typing import Any, ClassVar

import orjson
from fastapi import Response
from fastapi.exceptions import RequestValidationError

from mlops_lab.errors import ContractError, LabError, NoChampionError
from mlops_lab.tabular import problem as problem


class RequestError(LabError):
    """A request that can't be served. `kind` is its label in `inference_errors_total`."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    headers: ClassVar[dict[str, str]] = {}


class UnknownUseCase(RequestError):
    """No use case of that name is registered."""

    status, kind = 404, "unknown_use_case"


class UnknownVersion(RequestError):
    """Another version of the model is served."""

    status, kind = 404, "unknown_version"


class UnknownFeature(RequestError):
    """The model has no such category."""

    status, kind = 404, "unknown_feature"


class RegistryAway(RequestError):
    """MLflow doesn't answer."""

    status, kind, headers = 503, "registry_away", {"retry-after": "10"}


class DatabaseAway(RequestError):
    """RawData doesn't answer."""

    status, kind, headers = 503, "database_away", {"retry-after": "10"}


class CannotStore(RequestError):
    """The spool is full, or can't be written."""

    status, kind, headers = 503, "cannot_store", {"retry-after": "10"}


class Busy(RequestError):
    """Too many large requests at once."""

    status, kind, headers = 503, "busy", {"retry-after": "1"}


class BadBody(RequestError):
    """The body isn't JSON."""

    status, kind = 400, "bad_body"


class BadKey(RequestError):
    """An Idempotency-Key that can't be used."""

    status, kind = 400, "bad_key"


class WrongContentType(RequestError):
    """A content type that the route doesn't take."""

    status, kind = 415, "content_type"


class TooLarge(RequestError):
    """Too many rows or bytes."""

    # The server reads the rest of the body and drops it: a closed connection would hide this reply from the client.
    status, kind = 413, "too_large"


class NoKey(RequestError):
    """The API key is missing or unknown."""

    status, kind, headers = 401, "unauthorized", {"www-authenticate": "Bearer"}


class NoRight(RequestError):
    """The API key lacks the right that the route requires."""

    status, kind = 403, "forbidden"


class UnknownPrediction(RequestError):
    """The prediction log has no such entry."""

    status, kind = 404, "unknown_prediction"


class LogClosed(RequestError):
    """The prediction log is read with a key, and no keys are set."""

    status, kind = 403, "forbidden"


class ReloadDisabled(RequestError):
    """No reload token is set."""

    status, kind = 403, "forbidden"


class WrongToken(RequestError):
    """The reload token is missing or wrong."""

    status, kind, headers = 401, "unauthorized", {"www-authenticate": "Bearer"}


def kind_of(error: Exception) -> str:
    """The error's label in `inference_errors_total`."""
    return describe(error)[1]


def refusal(error: Exception) -> Response:
    """The reply to a request that raised this error. For an unexpected error it has no details."""
    status, _, headers, content = describe(error)
    return Response(orjson.dumps(content), status, headers, "application/json")


def describe(error: Exception) -> tuple[int, str, dict[str, str], dict[str, Any]]:
    """(status, kind, headers, JSON body)."""
    match error:
        case ContractError():
            return 422, "contract", {}, _problems(error)
        case RequestValidationError():
            problems = [
                {
                    "row": 0,
                    "field": str(e["loc"][-1]) if e["loc"] else "",
                    "rule": e["type"],
                    "message": e["msg"],
                }
                for e in error.errors()
            ]
            return 422, "contract", {}, {"detail": problems}
        case NoChampionError():
            return 503, "no_model", {"retry-after": "10"}, {"detail": str(error)}
        case RequestError():
            return error.status, error.kind, error.headers, {"detail": str(error)}
    text = "the service failed on this request; its log has the reason, under the request's X-Request-ID"
    return 500, "internal", {}, {"detail": text}


def _problems(error: ContractError) -> dict[str, Any]:
    if not error.more:
        return {"detail": error.problems}
    shown = len(error.problems)
    more = f"the check stopped after {shown} problems; there may be more"
    return {"detail": error.problems, "shown": shown, "more": more}
