"""The service put together: `create_app(settings)` gives the ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine
from starlette.routing import Route
from starlette.types import ASGIApp

from inference import alert_notes, explain, feedback, invocations, live, logged, predict, routes, v2
from inference.access import Guard
from inference.body import JSON, Intake
from inference.champions import Champions
from inference.endpoint import Endpoint, Shortcut
from inference.errors import RequestError, refusal
from inference.metrics import Metrics
from inference.openapi import LiveOpenApi
from inference.prediction_log import PredictionLog
from inference.service import Service
from inference.settings import InferenceSettings
from inference.shadow import Shadow
from inference.workers import Workers
from mlops_lab import logs
from mlops_lab.data.database import connect
from mlops_lab.errors import ContractError, NoChampionError


def create_app(settings: InferenceSettings) -> FastAPI:
    """The application. Its lifespan starts the threads of the prediction log and follows the registry.

    Raises `SpoolError` when the spool's folder can't be used, and `SettingsError` for a wrong list of API keys.
    """
    keys = settings.keys()
    metrics = Metrics()
    # Short limits: entries wait in the spool, not in a connection; pages wait 30 s for notes on alerts.
    database = connect(
        settings.prediction_url, connect_timeout=5, statement_timeout=20, pool_size=2, json_serializer=_json
    )
    champions = Champions(settings, database, metrics)
    log = PredictionLog(settings.spool, database, settings.inference_spool_limit)
    metrics.watch(champions, log)
    intake = Intake(settings.inference_max_body, settings.inference_max_bodies)
    shadow = Shadow(log, metrics, champions.trials)
    service = Service(settings, champions, log, metrics, intake, Workers(), shadow)

    answer_predict = Endpoint(service, "predict", predict.respond, quick=(JSON,), accepted=predict.ACCEPTED)
    answer_explain = Endpoint(service, "explain", explain.respond)
    answer_feedback = Endpoint(service, "feedback", feedback.respond)
    answer_invocations = Endpoint(service, "invocations", invocations.respond, accepted=invocations.ACCEPTED)

    app = FastAPIOffline(
        title="MLOps lab: inference",
        version="1",
        description="Serves every use case's champion. Fields, ranges and examples come from the models' contracts.",
        # They come first, so that no request to them is matched against others.
        routes=[
            Route("/predict/{use_case}", answer_predict, methods=["POST"]),
            Route("/predict", answer_predict, methods=["POST"]),
            Route("/explain/{use_case}", answer_explain, methods=["POST"]),
            Route("/explain", answer_explain, methods=["POST"]),
            Route("/feedback", answer_feedback, methods=["POST"]),
            Route("/invocations/{use_case}", answer_invocations, methods=["POST"]),
            Route("/invocations", answer_invocations, methods=["POST"]),
            *v2.infer_routes(service),
        ],
        lifespan=_lifespan(service, database),
        redoc_url=None,
    )
    app.include_router(routes.router(service))
    app.include_router(live.router(champions, database))
    app.include_router(v2.router(service))
    app.include_router(alert_notes.router(intake, database))
    app.include_router(logged.router(database, settings.default_use_case, opened=keys is not None))
    # FastAPI's own way to replace the document is to replace this method.
    app.openapi = LiveOpenApi(app, champions, settings.default_use_case, keys is not None)  # pyrefly: ignore[method-assign]
    for kind in (RequestError, ContractError, NoChampionError, RequestValidationError):
        app.add_exception_handler(kind, _refuse)
    app.add_exception_handler(Exception, _fail)
    inner: ASGIApp = Shortcut(app.build_middleware_stack(), answer_predict)
    app.middleware_stack = logs.RequestId(Guard(inner, keys, metrics) if keys else inner)
    return app


def _lifespan(service: Service, database: Engine):
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.log.start()
        service.shadow.start()
        following = asyncio.create_task(_follow(service))
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            await asyncio.to_thread(service.workers.stop)
            await asyncio.to_thread(service.shadow.stop)
            await asyncio.to_thread(service.log.stop)
            database.dispose()

    return lifespan


async def _follow(service: Service) -> None:
    """Checks the aliases at once and then every few seconds, as long as the service runs."""
    while True:
        await asyncio.to_thread(service.champions.refresh)
        await asyncio.sleep(service.settings.inference_poll)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _refuse(request: Request, error: Exception) -> Response:
    return v2.refusal_at(request.url.path, error)


def _fail(_request: Request, error: Exception) -> Response:
    # Starlette raises the error again after the reply, and the server logs it with its traceback.
    return refusal(error)
