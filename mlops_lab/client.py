"""The inference service's HTTP API as Python: what the pages, the notebooks and the load test call."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError


class ServiceAway(LabError):
    """The service doesn't answer, or answers with something that isn't its own."""


class RequestRefused(LabError):
    """The service understood the request and said no; the text is its reason."""


class NotReady(LabError):
    """The service can't answer now: no model yet, too busy, or its registry is away; the text says which."""


class _Reply(BaseModel):
    """What is not named here may come too: a newer service stays usable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelName(_Reply):
    """Which version answered."""

    name: str
    version: int


class Predictions(_Reply):
    """One entry a row: a number in the target's unit, or a class.

    probabilities: classifiers only; by class, they sum to 1. threshold: binary only.
    """

    predictions: list[Any]
    model: ModelName
    prediction_ids: list[str]
    probabilities: list[dict[str, float]] | None = None
    threshold: float | None = None


class Explanation(_Reply):
    """How far each field moved one prediction away from the base value.

    `base_value` and `values` add up to `explained`, in `unit`: the prediction itself, or the probability of `class_`.
    """

    prediction: Any
    base_value: float
    values: dict[str, float]
    unit: str | None = None
    class_: str | None = None

    @property
    def explained(self) -> float:
        return self.base_value + sum(self.values.values())


class Served(_Reply):
    """One use case that the service knows. `error`: why its newest champion could not be loaded."""

    use_case: str
    title: str = ""
    version: int | None = None
    error: str | None = None


class InferenceClient:
    """One inference service. Every method raises `ServiceAway` when it doesn't answer.

    url:     `http://127.0.0.1:8085`.
    timeout: seconds a request may take.
    """

    def __init__(self, url: str, timeout: float = 10.0, transport: httpx.BaseTransport | None = None):
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout, transport=transport)

    def health(self) -> dict:
        """What `GET /health` says of the service itself."""
        return self._call("GET", "/health")

    def ready(self) -> bool:
        """Whether a model is served."""
        return self._send("GET", "/ready").status_code == 200

    def models(self) -> list[Served]:
        """The use cases that are served, by name."""
        return sorted(
            (_parse(Served, model) for model in self._call("GET", "/models")["models"]), key=_by_name
        )

    def contract(self, use_case: str) -> Contract:
        """The contract of the served champion. Raises `NotReady`, or `RequestRefused` for an unknown use case."""
        return _parse(Contract, self._call("GET", f"/models/{use_case}"))

    def values(self, use_case: str, feature: str, text: str = "") -> list[str]:
        """Up to 50 values of a category that contain the text, the most frequent first."""
        return self._call("GET", f"/models/{use_case}/features/{feature}", params={"q": text})["values"]

    def versions(self, use_case: str) -> list[dict]:
        """Every version, newest first, as the registry has it: aliases, tags with scores and reasons."""
        return self._call("GET", f"/models/{use_case}/versions")["versions"]

    def predict(self, use_case: str, rows: Sequence[Mapping[str, Any]]) -> Predictions:
        """Predictions for rows of JSON types. Raises `ContractError` with every problem of every row."""
        return _parse(Predictions, self._call("POST", f"/predict/{use_case}", json={"rows": list(rows)}))

    def explain(self, use_case: str, row: Mapping[str, Any]) -> Explanation:
        """What moved the prediction of one row."""
        body = self._call("POST", f"/explain/{use_case}", json=dict(row))
        return _parse(Explanation, body | {"class_": body.get("class")})

    def feedback(
        self, use_case: str, prediction_id: str, actual: Any, group_key: Mapping[str, Any] | None = None
    ) -> None:
        """Tells the true value of a prediction. Without its group key it never becomes training data."""
        body = {
            "use_case": use_case,
            "prediction_id": prediction_id,
            "actual": actual,
            "group_key": group_key,
        }
        self._call("POST", "/feedback", json={key: value for key, value in body.items() if value is not None})

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.TimeoutException:
            raise ServiceAway(f"the inference service at {self.url} takes too long; try again") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceAway(f"the inference service at {self.url} doesn't answer ({error})") from None

    def _call(self, method: str, path: str, **request: Any) -> dict:
        reply = self._send(method, path, **request)
        try:
            body = reply.json()
        except ValueError:
            body = {}
        if reply.is_success and isinstance(body, dict):
            return body
        detail = body.get("detail") if isinstance(body, dict) else None
        if (
            reply.status_code == 422
            and isinstance(detail, list)
            and detail
            and {"row", "field"} <= detail[0].keys()
        ):
            raise ContractError(detail)
        if reply.status_code == 503:
            raise NotReady(str(detail or "no model is served yet"))
        if reply.is_client_error and detail:
            raise RequestRefused(detail if isinstance(detail, str) else str(detail))
        raise ServiceAway(
            f"{self.url}{path} answers {reply.status_code} and not as an inference service does"
        )


def _by_name(served: Served) -> str:
    return served.use_case


def _parse(kind: type[BaseModel], body: Any) -> Any:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ServiceAway(
            f"the inference service answers in another format (at {where or 'the top'})"
        ) from None
