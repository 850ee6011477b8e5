"""`/predictions`: what the prediction log has, for callers that may read it."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from sqlalchemy import Engine

from inference.access import LOG
from inference.database import ask
from inference.errors import LogClosed, UnknownPrediction
from inference.openapi import refusals
from mlops_lab.data.predictions import Logged, PredictionReader

T = TypeVar("T")

# Predictions in one reply.
MOST = 1000

_Id = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class LoggedFeedback(BaseModel):
    """One ground truth that came for the prediction. received_at: UTC."""

    actual: Any
    group_key: Any | None
    received_at: str


class LoggedPrediction(BaseModel):
    """One entry. row: as it was checked. predicted_at: UTC. feedback: the newest, oldest first."""

    id: str
    use_case: str
    version: int
    run_id: str
    request_id: str
    predicted_at: str
    row: dict[str, Any]
    prediction: Any
    probabilities: dict[str, float] | None
    feedback: list[LoggedFeedback]


class LoggedPredictions(BaseModel):
    """The newest predictions first. before: for the next page; null on the last one."""

    predictions: list[LoggedPrediction]
    before: str | None


def router(database: Engine, default: str, opened: bool) -> APIRouter:
    """The two routes. default: the use case of a request that names none.

    opened: whether API keys are required; without them nobody may read the log here.
    """
    routes = APIRouter(tags=["log"])
    reader = PredictionReader(database)

    async def read(work: Callable[..., T], *arguments: Any) -> T:
        if not opened:
            raise LogClosed("the prediction log is read with an API key, and LAB_API_KEYS isn't set")
        return await ask("the prediction log", work, *arguments, does="read")

    @routes.get(
        f"{LOG}/{{prediction_id}}",
        summary="One logged prediction, with its feedback",
        responses=refusals(403, 404, 422, 503),
    )
    async def one(prediction_id: _Id) -> LoggedPrediction:
        if (found := await read(reader.logged, prediction_id)) is None:
            raise _unknown(prediction_id)
        return _as_sent(found)

    @routes.get(LOG, summary="The newest logged predictions first", responses=refusals(403, 404, 422, 503))
    async def newest(
        use_case: Annotated[str, Query(max_length=40, description="the predictions of this one")] = default,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        before: Annotated[
            str | None, Query(pattern=r"^[0-9a-f]{32}$", description="only older ones than this prediction")
        ] = None,
    ) -> LoggedPredictions:
        found = await read(reader.newest, use_case, limit, before)
        if found is None:
            raise _unknown(str(before))
        last = found[-1].prediction.id if len(found) == limit else None
        return LoggedPredictions(predictions=[_as_sent(entry) for entry in found], before=last)

    return routes


def _unknown(prediction_id: str) -> UnknownPrediction:
    return UnknownPrediction(
        f"no prediction {prediction_id} is in the log; one that was just made is written there within seconds"
    )


def _as_sent(found: Logged) -> LoggedPrediction:
    prediction = found.prediction
    feedback = [
        LoggedFeedback(actual=f.actual, group_key=f.group_key, received_at=_utc(f.received_at))
        for f in found.feedback
    ]
    return LoggedPrediction(
        id=prediction.id,
        use_case=prediction.use_case,
        version=prediction.version,
        run_id=prediction.run_id,
        request_id=prediction.request_id,
        predicted_at=_utc(prediction.predicted_at),
        row=prediction.row,
        prediction=prediction.prediction,
        probabilities=prediction.probabilities,
        feedback=feedback,
    )


def _utc(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='milliseconds')}Z"
