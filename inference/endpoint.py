"""The base of `/predict`, `/explain` and `/feedback`: JSON in, JSON out, and every reply is counted.

They are plain routes of Starlette, because FastAPI's own route costs more than a tenth of a prediction
(docs/architecture.md has the figures). OpenAPI describes them from the contracts.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Request, Response
from starlette.requests import ClientDisconnect

from inference.champions import Champion
from inference.errors import kind_of, refusal
from inference.metrics import UNKNOWN
from inference.service import Service

logger = logging.getLogger("inference")

# Bytes of about ten rows of fifty fields. They take a millisecond or two, so a thread would cost more.
SMALL_BODY = 16 * 1024


@dataclass
class Call:
    """One request to a model. `/feedback` names its use case in the body, and sets it again."""

    use_case: str
    request: Request
    body: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True)
class Reply:
    """The model's answer. `content` becomes the JSON body; the other fields are for the metrics."""

    champion: Champion
    content: dict[str, Any]
    rows: int = 0
    status: int = 200


def endpoint(
    service: Service, kind: str, respond: Callable[[Service, Call], Reply], quick: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """The route's function.

    kind:    its label in the metrics.
    respond: makes the reply; raises typed errors. It runs in a worker thread.
    quick:   `respond` runs on the event loop when the body is small.
    """

    def answer(call: Call) -> tuple[Reply, bytes]:
        reply = respond(service, call)
        return reply, orjson.dumps(reply.content)

    async def route(request: Request) -> Response:
        started = time.perf_counter()
        call = Call(request.path_params.get("use_case", service.settings.default_use_case), request)
        try:
            await service.intake.read(request, call.body)
            if quick and len(call.body) <= SMALL_BODY:
                reply, body = answer(call)
            else:
                reply, body = await service.workers.run(answer, call)
        except ClientDisconnect:
            # The client has closed the connection, so there is nobody to reply to.
            return Response()
        except Exception as error:
            response, rows = refusal(error), 0
            if response.status_code == 500:
                logger.exception("%s %s failed", kind, call.use_case)
            use_case, version = _labels(service, call.use_case)
            service.metrics.refused(use_case, kind_of(error))
        else:
            response = Response(body, reply.status, media_type="application/json")
            use_case, version, rows = reply.champion.use_case, reply.champion.label, reply.rows
        finally:
            service.intake.release(call.body)
        seconds = time.perf_counter() - started
        service.metrics.answered(use_case, version, kind, response.status_code, seconds, rows)
        return response

    return route


def _labels(service: Service, use_case: str) -> tuple[str, str]:
    """(use case, served version) as labels. Text of a request must never become a label."""
    if champion := service.champions.find(use_case):
        return use_case, champion.label
    return service.champions.known(use_case) or UNKNOWN, ""
