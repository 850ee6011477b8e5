"""`/models`, `/health`, `/ready`, `/reload`, `/metrics`: the served models and the state of the service."""

import asyncio
import hmac
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from inference.errors import ReloadDisabled, UnknownFeature, WrongToken
from inference.loaded import Champion
from inference.openapi import refusals
from inference.service import Service
from mlops_lab.features import SCHEMA_VALUES, TEXT_LIMIT, Category
from mlops_lab.front_page import HEADERS, Cell, front_page, wants_page

# Encoded training rows and errors of test rows: no reply has them, for they may be rows of persons.
_PRIVATE = {"background": True, "evaluation": {"cells"}}


def router(service: Service) -> APIRouter:
    """The routes that are not counted as requests to a model."""
    routes = APIRouter()
    champions = service.champions

    @routes.get(
        "/",
        summary="Where to go from here, as JSON; a page for browsers",
        tags=["service"],
        responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}},
        response_class=JSONResponse,
    )
    async def index(
        request: Request, accept: Annotated[str, Header(include_in_schema=False)] = ""
    ) -> Response:
        served = champions.served()
        if wants_page(accept):
            return HTMLResponse(_page(served, str(request.base_url)), headers=HEADERS)
        names = [champion.use_case for champion in served]
        reply = {
            "service": "inference",
            "serves": names,
            "predict": [f"/predict/{name}" for name in names],
            "see": ["/docs", "/models", "/health", "/ready", "/metrics"],
        }
        return JSONResponse(reply, headers={"Vary": "Accept"})

    @routes.get("/health", summary="Whether the process is alive", tags=["service"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/ping", summary="The same, for clients of MLflow's scoring server", tags=["service"])
    async def ping() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get(
        "/ready",
        summary="Whether the champions are served; 503 when none is",
        tags=["service"],
        responses=refusals(503),
    )
    async def ready() -> dict[str, Any]:
        return {"status": "ready", "models": champions.check_ready()}

    @routes.get("/metrics", summary="Prometheus metrics", tags=["service"], response_class=Response)
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @routes.post(
        "/reload",
        summary="Check the aliases now; needs the reload token",
        tags=["service"],
        responses=refusals(401, 403, 422),
    )
    async def reload(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        token = service.settings.reload_token
        # An empty token would let every caller in.
        if token is None or not token.get_secret_value():
            raise ReloadDisabled(
                "POST /reload is off: LAB_RELOAD_TOKEN isn't set; the aliases are checked every few seconds"
            )
        expected = f"Bearer {token.get_secret_value()}".encode()
        if not hmac.compare_digest(authorization.encode(), expected):
            raise WrongToken("the header Authorization: Bearer <token> is missing or wrong")
        await asyncio.to_thread(champions.refresh, True)
        return _models(service)

    @routes.get("/models", summary="Every registered use case and its served version", tags=["models"])
    async def models() -> dict[str, Any]:
        return _models(service)

    @routes.get(
        "/models/{use_case}",
        summary="The contract of the served champion",
        tags=["models"],
        responses=refusals(404, 422, 503),
    )
    async def contract(
        use_case: str,
        full: Annotated[bool, Query(description="with the reference histograms of the features")] = False,
    ) -> Response:
        champion = champions.get(use_case)
        text = champion.contract.model_dump_json(exclude=_PRIVATE if full else _PRIVATE | {"reference": True})
        return Response(text, media_type="application/json", headers={"X-Model-Version": champion.label})

    @routes.get(
        "/models/{use_case}/features/{feature}",
        summary="Look up values of a category",
        tags=["models"],
        responses=refusals(404, 422, 503),
    )
    async def values(
        use_case: str, feature: str, q: Annotated[str, Query(max_length=TEXT_LIMIT)] = ""
    ) -> dict[str, Any]:
        contract = champions.get(use_case).contract
        categories = {f.name: f for f in [*contract.features, contract.target] if isinstance(f, Category)}
        if feature not in categories:
            names = ", ".join(categories) or "none"
            raise UnknownFeature(f"{use_case} has no category {feature[:60]!r}; there are: {names}")
        category = categories[feature]
        matches = category.search(q)
        return {
            "feature": feature,
            "open": category.allow_unknown,
            "total": len(matches),
            "values": matches[:SCHEMA_VALUES],
        }

    @routes.get(
        "/models/{use_case}/check",
        summary="Predict the example; neither logged nor counted",
        tags=["models"],
        responses=refusals(404, 422, 503),
    )
    async def check(use_case: str) -> dict[str, Any]:
        champion = champions.get(use_case)
        result = champion.predictor.predict([champion.contract.example])
        return {"predictions": result.values, "model": champion.name}

    @routes.get(
        "/models/{use_case}/versions",
        summary="Every version, as the registry has it",
        tags=["models"],
        responses=refusals(404, 422, 503),
    )
    async def versions(use_case: str) -> dict[str, Any]:
        registered = await asyncio.to_thread(champions.versions, use_case)
        return {
            "use_case": use_case,
            "versions": [
                {
                    "version": v.version,
                    "aliases": v.aliases,
                    "run_id": v.run_id,
                    "digest": v.digest,
                    "created_at": v.created_at,
                    "tags": v.tags,
                }
                for v in registered
            ],
        }

    return routes


def _page(served: Sequence[Champion], base: str) -> str:
    rows: list[list[Cell]] = [
        [
            champion.contract.title,
            champion.label,
            f"{champion.loaded_at:%Y-%m-%d %H:%M} UTC",
            (f"/models/{champion.use_case}", f"/models/{champion.use_case}"),
        ]
        for champion in served
    ]
    first = served[0].use_case if served else "USE_CASE"
    return front_page(
        "Prediction API",
        "Serves the champion of each use case." if served else "No model is served yet.",
        [("How to call it", "/docs"), ("Metrics", "/metrics"), ("State", "/ready")],
        ("Served models", ["Use case", "Version", "Loaded", "Fields and figures"], rows),
        "# a row is an object with the model's fields; /docs has an example\n"
        f"curl -s {base}predict/{first} -H 'Content-Type: application/json' -d @row.json",
    )


def _models(service: Service) -> dict[str, Any]:
    champions = service.champions
    entries = []
    for status in champions.status():
        entry: dict[str, Any] = {
            "use_case": status.use_case,
            "title": "",
            "version": None,
            "error": status.error,
            "trial": None,
        }
        if state := champions.trials.state(status.use_case):
            entry["trial"] = state.as_json()
        if champion := status.champion:
            contract = champion.contract
            entry |= {
                "title": contract.title,
                "task": contract.task,
                "version": champion.version.version,
                "run_id": champion.version.run_id,
                "digest": champion.version.digest,
                "metric": contract.metric,
                "metrics": contract.metrics,
                "baseline": contract.baseline,
                "candidate": contract.lineage.candidate if contract.lineage else None,
                "loaded_at": champion.loaded_at.isoformat(),
            }
        entries.append(entry)
    return {
        "models": entries,
        "default": service.settings.default_use_case,
        "registry": {"error": champions.registry_error, "looked": champions.looked},
    }
