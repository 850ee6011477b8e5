"""Who may ask: with API keys set, each request needs one that has the right for its path.

The one check, outside of the router and of the way past it, so that no route goes around it: what isn't in `_OPEN`
needs a key, also a path that no route has. It comes before the body is read and before a use case is looked up, so a
stranger learns nothing and writes nothing into the log.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from inference.errors import NoKey, NoRight, RequestError
from inference.metrics import UNKNOWN, Metrics
from inference.v2 import refusal_at
from mlops_lab.api_keys import PREDICT, READ, ApiKeys

# The state of the process for its probes, figures, and how to call it: no row of data. /reload has a token of its own.
_OPEN = frozenset(
    "/ /health /ping /ready /v2 /v2/health/live /v2/health/ready /metrics /reload /docs /docs/oauth2-redirect "
    "/openapi.json".split()
)
# The scripts and styles of /docs.
_STATIC = "/static-offline-docs/"
LOG = "/predictions"
_SCHEME = b"bearer "


class Guard:
    """Passes a request on when its path is open, or its key may use it; else the reply is 401 or 403."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, metrics: Metrics):
        self._app, self._keys, self._metrics = app, keys, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope)
            except RequestError as error:
                self._metrics.refused(UNKNOWN, error.kind)
                await refusal_at(scope["path"], error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if (right := right_for(scope["path"])) is None:
            return
        if (presented := _bearer(scope["headers"])) is None:
            raise NoKey("this service requires an API key; send it as the header Authorization: Bearer <key>")
        if (key := self._keys.find(presented)) is None:
            raise NoKey("the API key in the header Authorization isn't known to this service")
        if right not in key.rights:
            raise NoRight(f"the API key {key.name} has no right to {right}")


def right_for(path: str) -> str | None:
    """The right that a path requires; None when it is open."""
    if path in _OPEN or path.startswith(_STATIC):
        return None
    return READ if path == LOG or path.startswith(f"{LOG}/") else PREDICT


def _bearer(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The key in the header Authorization."""
    for name, value in headers:
        if name == b"authorization" and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip().decode("latin-1")
    return None
