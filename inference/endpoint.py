"""What `/predict`, `/explain` and `/feedback` have in common: bare ASGI, since a framework costs more than the model.

Each reads JSON, answers in JSON, turns every error into its status and one clear line, and is counted.
"""

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

from inference.body import Disconnected, read_body
from inference.champions import Champion, Champions
from inference.errors import answer
from inference.metrics import UNKNOWN, Metrics
from inference.prediction_log import PredictionLog
from inference.settings import InferenceSettings
from inference.workers import Workers

logger = logging.getLogger("inference")

SMALL_BODY = 16 * 1024  # bytes; about ten rows of fifty fields, a millisecond or two


@dataclass(frozen=True)
class Service:
    """What the endpoints are given."""

    settings: InferenceSettings
    champions: Champions
    log: PredictionLog
    metrics: Metrics
    workers: Workers


@dataclass
class Call:
    """One request on its way. `champion` is set as soon as it is known, so that errors are counted under it."""

    use_case: str
    query: bytes
    body: bytes = b""
    champion: Champion | None = None
    rows: int = 0
    status: int = 200


class Endpoint(ABC):
    """One path. `kind`: its label in the metrics; `quick`: a small body is answered on the event loop."""

    kind: str
    quick: bool = False

    def __init__(self, service: Service):
        self.service = service

    @abstractmethod
    def respond(self, call: Call) -> bytes:
        """The JSON reply to `call.body`; sets the call's champion, rows and status. Raises typed errors."""

    async def __call__(self, scope, receive, send) -> None:
        started = time.perf_counter()
        service = self.service
        call = Call(
            scope["path_params"].get("use_case") or service.settings.default_use_case, scope["query_string"]
        )
        headers = [(b"content-type", b"application/json")]
        error_kind = None
        try:
            call.body = await read_body(scope, receive, service.settings.inference_max_body)
            if self.quick and len(call.body) <= SMALL_BODY:
                body = self.respond(call)
            else:
                body = await service.workers.run(self.respond, call)
        except Disconnected:
            return
        except Exception as error:
            call.status, error_kind, more, body = answer(error)
            headers += [(name.encode(), value.encode()) for name, value in more.items()]
            if error_kind == "internal":
                logger.exception("%s %s failed", self.kind, call.use_case)
            if call.status == 413:  # what is left of the body is not read
                headers.append((b"connection", b"close"))
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": call.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if champion := call.champion:
            use_case, version = champion.use_case, champion.label
        else:
            use_case, version = service.champions.known(call.use_case) or UNKNOWN, ""
        seconds = time.perf_counter() - started
        service.metrics.answered(use_case, version, self.kind, call.status, seconds, call.rows)
        if error_kind:
            service.metrics.refused(use_case, error_kind)
