"""The part of the inference service's HTTP API that is about live traffic: figures, scores, the prediction log."""

import time
from datetime import datetime
from typing import Any

from mlops_lab.client import InferenceClient, Reply, ServiceAwayError, parsed
from mlops_lab.traffic import Scrape, ScrapeError, read_scrape


class LiveScore(Reply):
    """The metric of one version in one arm. score: None while fewer predictions than needed have a ground truth."""

    version: int
    arm: str
    metric: str
    labelled: int
    score: float | None
    checked_at: datetime


class LiveCheck(Reply):
    """The newest monitoring check, as `GET /models/{use_case}/live` describes it."""

    version: int
    checked_at: datetime
    metric: str
    rows: int
    labelled: int
    live_score: float | None = None
    test_score: float | None = None
    test_low: float | None = None
    test_high: float | None = None
    estimated_score: float | None = None
    estimated_low: float | None = None
    estimated_high: float | None = None
    estimated_worse: bool | None = None
    psi: float | None = None
    feature: str | None = None
    passed: bool = False
    retrain: bool = False
    reason: str = ""
    run_id: str | None = None


class Live(Reply):
    """live: by version and arm. check: None before the first one, and from a service of an earlier release."""

    live: tuple[LiveScore, ...]
    check: LiveCheck | None = None


class Truth(Reply):
    """A ground truth that came for a prediction."""

    actual: Any
    received_at: datetime


class LoggedPrediction(Reply):
    """One entry of the prediction log. run_id: the MLflow run of the version. feedback: oldest first."""

    id: str
    use_case: str
    version: int
    run_id: str
    request_id: str
    predicted_at: datetime
    row: dict[str, Any]
    prediction: Any
    probabilities: dict[str, float] | None = None
    feedback: tuple[Truth, ...] = ()


class LiveClient(InferenceClient):
    """The same service, for what its callers do. The two methods about the log need a key with the right to read."""

    def scrape(self) -> Scrape:
        """The service's metrics now."""
        reply = self._send("GET", "/metrics", timeout=self._quick)
        if not reply.is_success:
            raise ServiceAwayError(f"{self.url}/metrics answers {reply.status_code}")
        try:
            return read_scrape(reply.text, time.time())
        except ScrapeError as error:
            raise ServiceAwayError(f"{self.url}/metrics can't be read: {error}") from None

    def live(self, use_case: str) -> Live:
        """What the newest monitoring check found. Raises `RequestRefusedError` while nothing is served."""
        return parsed(Live, self._call("GET", f"/models/{use_case}/live"))

    def predictions(self, use_case: str, limit: int) -> list[LoggedPrediction]:
        """The newest logged predictions first. Raises `RequestRefusedError` without the right to read (401, 403)."""
        reply = self._call("GET", "/predictions", params={"use_case": use_case, "limit": limit})
        return [parsed(LoggedPrediction, entry) for entry in reply["predictions"]]

    def prediction(self, prediction_id: str) -> LoggedPrediction:
        """One logged prediction. Raises `RequestRefusedError` without the right, or for an unknown id (404)."""
        return parsed(LoggedPrediction, self._call("GET", f"/predictions/{prediction_id}"))
