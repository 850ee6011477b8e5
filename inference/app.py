"""The service put together: `create_app(settings)` gives the ASGI application."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from sqlalchemy import Engine
from starlette.routing import Route

from inference import routes
from inference.champions import Champions
from inference.endpoint import Service
from inference.errors import answer
from inference.explain import Explain
from inference.feedback import Feedback
from inference.metrics import Metrics
from inference.openapi import LiveOpenApi
from inference.predict import Predict
from inference.prediction_log import PredictionLog
from inference.settings import InferenceSettings
from inference.workers import Workers
from mlops_lab import logs
from mlops_lab.data.database import connect
from mlops_lab.errors import ContractError, LabError

logger = logging.getLogger("inference")


def create_app(settings: InferenceSettings) -> FastAPI:
    """The application; it opens its spool and looks at the registry when it is started.

    Raises `SpoolError` when the spool's folder can't be used.
    """
    metrics = Metrics()
    # Short limits: entries wait in the spool, not in a connection.
    database = connect(
        settings.prediction_url, connect_timeout=5, statement_timeout=30, pool_size=2, json_serializer=_json
    )
    champions = Champions(settings, database, metrics)
    log = PredictionLog(settings.spool, database, settings.inference_spool_limit)
    metrics.watch(champions, log)
    service = Service(settings, champions, log, metrics, Workers())

    app = FastAPIOffline(
        title="MLOps lab: inference",
        version="1",
        description="Serves every use case's champion. Fields, ranges and examples come from the models' contracts.",
        lifespan=_lifespan(service, database),
        redoc_url=None,
    )
    app.include_router(routes.router(service))
    # In front of FastAPI's own routes: these are the ones that must be fast. OpenAPI describes them live.
    app.router.routes[:0] = [
        Route("/predict/{use_case}", Predict(service), methods=["POST"], name="predict"),
        Route("/predict", Predict(service), methods=["POST"], name="predict_default"),
        Route("/explain/{use_case}", Explain(service), methods=["POST"], name="explain"),
        Route("/explain", Explain(service), methods=["POST"], name="explain_default"),
        Route("/feedback", Feedback(service), methods=["POST"], name="feedback"),
    ]
    app.openapi = LiveOpenApi(app, champions, settings.default_use_case)
    app.add_exception_handler(LabError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(Exception, _fail)
    app.add_middleware(logs.RequestId)
    return app


def _lifespan(service: Service, database: Engine):
    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.log.start()
        following = asyncio.create_task(_follow(service))
        try:
            yield
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
            await asyncio.to_thread(service.workers.stop)
            await asyncio.to_thread(service.log.stop)
            database.dispose()

    return lifespan


async def _follow(service: Service) -> None:
    """Looks at the aliases at once and then every few seconds, for as long as the service runs."""
    while True:
        await asyncio.to_thread(service.champions.refresh)
        await asyncio.sleep(service.settings.inference_poll)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _refuse(request: Request, error: Exception) -> Response:
    status, _kind, headers, body = answer(error)
    if status == 500:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return Response(body, status, {**headers, "content-type": "application/json"})


def _refuse_parameters(request: Request, error: RequestValidationError) -> Response:
    problems = [
        {"row": 0, "field": str(e["loc"][-1]), "rule": e["type"], "message": e["msg"]} for e in error.errors()
    ]
    return _refuse(request, ContractError(problems))


def _fail(request: Request, error: Exception) -> Response:
    # Starlette raises it again after this reply, and the server logs it with its traceback.
    response = _refuse(request, RuntimeError())
    response.headers["x-request-id"] = logs.request_id.get()
    return response
