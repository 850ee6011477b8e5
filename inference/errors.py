"""What can be wrong with a request: typed errors, each with its HTTP status and one clear line."""

from typing import Any, ClassVar

import orjson

from mlops_lab.errors import ContractError, LabError

MOST_PROBLEMS = 100  # a large batch with every row wrong still gets a reply that a person can read


class ServiceError(LabError):
    """A request that can't be served. `kind` is its label in `inference_errors_total`."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    headers: ClassVar[dict[str, str]] = {}


class UnknownUseCase(ServiceError):
    """No use case of that name is registered."""

    status, kind = 404, "unknown_use_case"


class UnknownFeature(ServiceError):
    """The model has no such category."""

    status, kind = 404, "unknown_feature"


class NoModelYet(ServiceError):
    """The use case has no champion that can be served."""

    status, kind, headers = 503, "no_model", {"retry-after": "10"}


class RegistryAway(ServiceError):
    """MLflow doesn't answer."""

    status, kind, headers = 503, "registry_away", {"retry-after": "10"}


class CannotStore(ServiceError):
    """The spool takes nothing."""

    status, kind, headers = 503, "cannot_store", {"retry-after": "10"}


class Busy(ServiceError):
    """Too many large requests wait."""

    status, kind, headers = 503, "busy", {"retry-after": "1"}


class BadBody(ServiceError):
    """The body isn't JSON."""

    status, kind = 400, "bad_body"


class WrongContentType(ServiceError):
    """Another content type than JSON."""

    status, kind = 415, "content_type"


class TooLarge(ServiceError):
    """Too many rows or bytes."""

    status, kind = 413, "too_large"


class ReloadDisabled(ServiceError):
    """No reload token is set."""

    status, kind = 403, "forbidden"


class WrongToken(ServiceError):
    """The reload token is missing or another one."""

    status, kind, headers = 401, "unauthorized", {"www-authenticate": "Bearer"}


def answer(error: Exception) -> tuple[int, str, dict[str, str], bytes]:
    """(status, kind, headers, JSON body) of any error; an unforeseen one says no more than that it happened."""
    if isinstance(error, ContractError):
        return 422, "contract", {}, orjson.dumps(_problems(error.problems))
    if isinstance(error, ServiceError):
        return error.status, error.kind, error.headers, orjson.dumps({"detail": str(error)})
    text = "the service failed on this request; its log says why, under the request's X-Request-ID"
    return 500, "internal", {}, orjson.dumps({"detail": text})


def problem(field: str, rule: str, message: str, row: int = 0) -> ContractError:
    """One fault of the request's shape, told in the same form as a fault in a row."""
    return ContractError([{"row": row, "field": field, "rule": rule, "message": message}])


def _problems(problems: list[dict[str, Any]]) -> dict[str, Any]:
    if len(problems) <= MOST_PROBLEMS:
        return {"detail": problems}
    return {"detail": problems[:MOST_PROBLEMS], "problems": len(problems)}
