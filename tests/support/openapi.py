"""Checks replies against an OpenAPI document with schemathesis: what the document allows, and what it forbids."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings

# The same cases in each run, so that a failure stays; the number keeps all routes together within seconds.
few = settings(
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def load(app: Any) -> Any:
    """The document of an ASGI app that runs already: its lifespan isn't started again."""

    async def running(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return schemathesis.openapi.from_asgi("/openapi.json", running)
