"""A client of the inference service's HTTP API, for the pages, the notebooks and the load test."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from mlops_lab.api_keys import key_header
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, without_number
from mlops_lab.model.tags import VersionTags

T = TypeVar("T", bound=BaseModel)

# Seconds for the replies that the service has in memory, so that a page soon knows that it hangs.
QUICK = 10.0


class ServiceAwayError(LabError):
    """The service doesn't answer, or its reply isn't one of the inference service's."""


class RequestRefusedError(LabError):
    """The service understood the request and refused it. The text is its reason.

    status: 4xx where the request is wrong; 503 where the service can't answer now (no champion yet, too many
            requests, the registry doesn't answer).
    """

    def __init__(self, reason: str, status: int):
        super().__init__(reason)
        self.status = status


class Reply(BaseModel):
    """A reply. Unknown fields are ignored, so that a newer service stays usable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ModelName(Reply):
    """The version that predicted."""

    name: str
    version: int


class PredictReply(Reply):
    """One entry a row: a number in the target's unit, or a class.

    probabilities: classifiers only; by class, they sum to 1. threshold: binary only.
    intervals: lower and upper limits, one pair a row, when they were asked for and the model has them; the share
    `interval_level` of the true values is inside.
    """

    predictions: list[Any]
    model: ModelName
    prediction_ids: list[str]
    probabilities: list[dict[str, float]] | None = None
    threshold: float | None = None
    intervals: list[tuple[float, float]] | None = None
    interval_level: float | None = None


class Curve(Reply):
    """The prediction of a row for other values of one field; for classifiers the probability of the explained class.

    current: the index of the row's own value; None when that is unknown and the field isn't a category.
    """

    feature: str
    values: list[Any]
    predictions: list[float]
    current: int | None = None


class ExplainReply(Reply):
    """How far each field moves one prediction away from the base value.

    `base_value` and `values` add up to `explained`, in `unit`: the prediction itself, or the probability of `class_`.
    The rest is as in a reply of /predict, for the one row. curve: when it was asked for.
    """

    prediction: Any
    base_value: float
    values: dict[str, float]
    unit: str | None = None
    class_: str | None = None
    model: ModelName | None = None
    probabilities: dict[str, float] | None = None
    threshold: float | None = None
    interval: tuple[float, float] | None = None
    interval_level: float | None = None
    curve: Curve | None = None

    @property
    def explained(self) -> float:
        return self.base_value + sum(self.values.values())


class ServedTrial(Reply):
    """A challenger that gets live traffic. share: of the requests that a canary answers. error: why it doesn't run."""

    kind: str = ""
    version: int | None = None
    share: float | None = None
    error: str | None = None


class ServedModel(Reply):
    """One registered use case. version: the champion that is served.

    error: why the newest champion could not be loaded. trial: None while none is asked for.
    """

    use_case: str
    title: str = ""
    version: int | None = None
    error: str | None = None
    trial: ServedTrial | None = None


class ServedModels(Reply):
    """The use cases that are served, by name.

    unknown: why a use case or a newer champion may be missing, because the service can't read the model registry; None
             when it can.
    """

    models: tuple[ServedModel, ...]
    unknown: str | None = None


class ModelVersion(Reply):
    """One registered version of a use case's model. `tags`: as MLflow has them."""

    version: int
    run_id: str = ""
    aliases: tuple[str, ...] = ()
    created_at: datetime | None = None
    tags: dict[str, str] = {}

    @property
    def is_champion(self) -> bool:
        return "champion" in self.aliases

    @property
    def facts(self) -> VersionTags:
        """The lab's own tags, typed: scores, outcome and reason."""
        return VersionTags.from_mlflow(self.tags)


class AlertNote(Reply):
    """What a person did about an alert. action: acknowledged or concluded."""

    alert: str
    fingerprint: str
    summary: str
    action: str
    who: str
    why: str
    at: datetime


class InferenceClient:
    """One inference service. Every method raises `ServiceAwayError` when it doesn't answer.

    url:     `http://127.0.0.1:8085`.
    timeout: seconds a request may take.
    key:     its API key, where the service requires one.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 10.0,
        transport: httpx.BaseTransport | None = None,
        key: SecretStr | None = None,
    ):
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout, transport=transport, headers=key_header(key)
        )
        self._quick = min(QUICK, timeout)

    def health(self) -> dict[str, Any]:
        """The reply of `GET /health`: the state of the process itself."""
        return self._call("GET", "/health", timeout=self._quick)

    def models(self) -> ServedModels:
        """What is served, and why that may not be all."""
        reply = self._call("GET", "/models", timeout=self._quick)
        found = sorted(
            (parsed(ServedModel, model) for model in reply["models"]), key=lambda model: model.use_case
        )
        registry, unknown = reply.get("registry", {}), None
        if error := registry.get("error"):
            unknown = f"the model registry doesn't answer the inference service ({error})"
        elif not registry.get("looked", True):
            unknown = "the inference service has not read the model registry yet"
        return ServedModels(models=tuple(found), unknown=unknown)

    def contract(self, use_case: str, full: bool = False) -> Contract:
        """The contract of the served champion. Raises `RequestRefusedError` when there is none.

        full: with the reference histograms of the features.
        """
        asked = {"params": {"full": "true"}} if full else {}
        return parsed(Contract, self._call("GET", f"/models/{use_case}", **asked))

    def values(self, use_case: str, feature: str, text: str = "") -> list[str]:
        """Up to 50 values of a category that contain the text, the most frequent first."""
        return self._call("GET", f"/models/{use_case}/features/{feature}", params={"q": text})["values"]

    def versions(self, use_case: str) -> list[ModelVersion]:
        """Every version in the registry, newest first; none for a use case that the registry doesn't have."""
        try:
            reply = self._call("GET", f"/models/{use_case}/versions")
        except RequestRefusedError as error:
            if error.status == 404:
                return []
            raise
        return [parsed(ModelVersion, version) for version in reply["versions"]]

    def predict(
        self, use_case: str, rows: Sequence[Mapping[str, Any]], interval: bool = False
    ) -> PredictReply:
        """Predictions for rows of JSON types. Raises `ContractError` with every problem of every row.

        interval: with prediction intervals, where the model has them.
        """
        asked = {"params": {"interval": "true"}} if interval else {}
        body = {"rows": list(rows)}
        return parsed(PredictReply, self._call("POST", f"/predict/{use_case}", json=body, **asked))

    def explain(self, use_case: str, row: Mapping[str, Any], curve: str | None = None) -> ExplainReply:
        """The prediction of one row and how far each field moves it. The service doesn't log the row.

        curve: a field, to have the predictions for its other values as well.
        """
        asked = {"interval": "true"} | ({"curve": curve} if curve else {})
        body = self._call("POST", f"/explain/{use_case}", json=dict(row), params=asked)
        return parsed(ExplainReply, body | {"class_": body.get("class")})

    def feedback(
        self, use_case: str, prediction_id: str, actual: Any, group_key: Mapping[str, Any] | None = None
    ) -> None:
        """Sends the ground truth of a prediction. Without its group key it never becomes training data."""
        body = {
            "use_case": use_case,
            "prediction_id": prediction_id,
            "actual": actual,
            "group_key": group_key,
        }
        self._call("POST", "/feedback", json={key: value for key, value in body.items() if value is not None})

    def alert_notes(self) -> list[AlertNote]:
        """The newest notes on alerts, the newest first."""
        return [parsed(AlertNote, note) for note in self._call("GET", "/alerts/notes")["notes"]]

    def note_alert(
        self, alert: str, fingerprint: str, summary: str, action: str, who: str, why: str
    ) -> AlertNote:
        """Keeps a note. Raises `ContractError` when a field is empty or too long."""
        note = {"alert": alert, "summary": summary, "action": action, "who": who, "why": why}
        return parsed(AlertNote, self._call("POST", f"/alerts/{fingerprint}/notes", json=note))

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.TimeoutException:
            raise ServiceAwayError(f"the inference service at {self.url} takes too long; try again") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServiceAwayError(
                f"the inference service at {self.url} doesn't answer ({without_number(error)})"
            ) from None

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        reply = self._send(method, path, **request)
        try:
            body: Any = reply.json()
        except ValueError:
            body = None
        if reply.is_success and isinstance(body, dict):
            return body
        detail: Any = body.get("detail") if isinstance(body, dict) else None
        if reply.status_code == 422 and _is_problems(detail):
            raise ContractError(detail)
        if detail and (reply.is_client_error or reply.status_code == 503):
            raise RequestRefusedError(str(detail), reply.status_code)
        raise ServiceAwayError(
            f"{self.url}{path} answers {reply.status_code} and not as an inference service does"
        )


def _is_problems(detail: Any) -> bool:
    """Whether it is a list of the inference service's problems; another service's 422 looks different."""
    return isinstance(detail, list) and bool(detail) and {"row", "field", "message"} <= detail[0].keys()


def parsed(kind: type[T], body: Any) -> T:
    """A part of a reply as its class. Raises `ServiceAwayError` for one of another form."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ServiceAwayError(
            f"the inference service answers in another format (at {where or 'the top'})"
        ) from None
