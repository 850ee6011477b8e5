"""The base of the routes to a model: each reads a body, makes a reply, counts it and logs it.

They speak ASGI themselves, and a prediction passes neither FastAPI's middleware nor its router, because these cost
about a tenth of it (docs/architecture.md has the figures). OpenAPI describes them from the contracts.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from inference.body import JSON
from inference.errors import kind_of, problem, refusal
from inference.loaded import Challenger, Champion
from inference.log_entries import Entry, request_entry
from inference.metrics import UNKNOWN
from inference.service import Service
from inference.spool import lines
from mlops_lab.data.database import now

logger = logging.getLogger("inference")

# Bytes of about ten rows of fifty fields. They take a millisecond or two, so a thread would cost more.
SMALL_BODY = 16 * 1024
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


@dataclass
class Call:
    """One request to a model. `/feedback` names its use case in the body, and sets it again.

    path:         the values in the path, by name.
    started:      by the clock for intervals.
    moment:       the same by the clock of the wall, UTC.
    content_type: of the body, without parameters.
    canary:        the challenger that was chosen to answer. champion_only: it has failed, so none is chosen.
    """

    use_case: str
    scope: Scope
    path: dict[str, str]
    content_type: str = ""
    body: bytearray = field(default_factory=bytearray)
    started: float = field(default_factory=time.perf_counter)
    moment: datetime = field(default_factory=now)
    canary: Challenger | None = None
    champion_only: bool = False
    _headers: dict[bytes, bytes] | None = None

    def milliseconds(self) -> float:
        """Since the request's headers were read."""
        return round((time.perf_counter() - self.started) * 1000, 3)

    def header(self, name: str) -> str | None:
        """A header's value. name: in lower case."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def flag(self, name: str) -> bool:
        """Whether a query parameter is true; without it, it isn't. Raises `ContractError` for anything else."""
        # Most requests have no query, and reading one costs more than the test.
        if not self.scope["query_string"] or (text := self.parameter(name)) is None:
            return False
        if text not in _FLAGS:
            raise problem(name, "type", "must be true or false")
        return _FLAGS[text]

    def parameter(self, name: str) -> str | None:
        """The last value of a query parameter."""
        query = self.scope["query_string"].decode("latin-1")
        found = parse_qs(query, keep_blank_values=True).get(name)
        return found[-1] if found else None


@dataclass(frozen=True)
class Reply:
    """The model's answer. `content` becomes the body; `rows` is for the metrics.

    content: what becomes JSON, or the bytes of another content type.
    entries: what is logged with the request.
    """

    champion: Champion
    content: dict[str, Any] | bytes
    rows: int = 0
    status: int = 200
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    entries: Sequence[Entry] = ()


class Endpoint:
    """The ASGI application of one kind of request.

    kind:     its label in the metrics.
    respond:  makes the reply; raises typed errors. It runs in a worker thread.
    quick:    `respond` runs on the event loop when the body is small and of one of these types.
    accepted: the content types of the body.
    refuse:   makes the reply for an error.
    """

    def __init__(
        self,
        service: Service,
        kind: str,
        respond: Callable[[Service, Call], Reply],
        *,
        quick: tuple[str, ...] = (),
        accepted: tuple[str, ...] = (JSON,),
        refuse: Callable[[Exception], Response] = refusal,
    ):
        self.kind = kind
        self._service, self._respond, self._refuse = service, respond, refuse
        self._quick, self._accepted = quick, accepted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """For Starlette's router, which has matched the path and is inside of the middleware."""
        await self.answer(scope, receive, send, scope["path_params"])

    async def answer(self, scope: Scope, receive: Receive, send: Send, path: dict[str, str]) -> None:
        """Reads the request, makes the reply, counts it and sends it. path: the values in the path, by name."""
        service = self._service
        call = Call(path.get("use_case") or service.settings.default_use_case, scope, path)
        reply: Reply | None = None
        try:
            call.content_type = await service.intake.read(
                scope["headers"], receive, call.body, self._accepted
            )
            if len(call.body) <= SMALL_BODY and call.content_type in self._quick:
                reply, body, logged = self._made(call)
            else:
                reply, body, logged = await service.workers.run(self._made, call)
        except ClientDisconnect:
            # The client has closed the connection, so there is nobody to reply to.
            return
        except Exception as error:
            entries, logged = 0, b""
            response = self._refuse(error)
            status, rows, headers, body = response.status_code, 0, response.raw_headers, response.body
            if status == 500:
                logger.exception("%s %s failed", self.kind, call.use_case)
            name, version = self._labels(call.use_case)
            fault = kind_of(error)
            service.metrics.refused(name, fault)
        else:
            fault = None
            champion, status, rows, entries = reply.champion, reply.status, reply.rows, len(reply.entries)
            headers = [
                (b"content-type", reply.content_type.encode()),
                (b"content-length", str(len(body)).encode()),
                *((name.encode(), value.encode()) for name, value in reply.headers),
            ]
            name, version = champion.use_case, champion.label
        finally:
            service.intake.release(call.body)
        milliseconds = call.milliseconds()
        service.metrics.answered(name, version, self.kind, status, milliseconds / 1000, rows)
        if name != UNKNOWN:
            served = int(version) if version else None
            facts = served, self.kind, status, fault, rows, milliseconds
            block = logged + lines([request_entry(call.moment, name, *facts)])
            service.log.add(block, entries + 1)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if reply is not None and (challenger := reply.champion.challenger) is not None and reply.entries:
            service.shadow.add(challenger, reply.entries)

    def _made(self, call: Call) -> tuple[Reply, bytes, bytes]:
        """(reply, its body, the lines of its entries in the log)."""
        try:
            reply = self._respond(self._service, call)
        except Exception as error:
            if (challenger := call.canary) is None:
                raise
            # The champion answers. What is wrong with the request itself is raised again.
            call.canary, call.champion_only = None, True
            reply = self._respond(self._service, call)
            self._service.champions.trials.failed(challenger, error)
        body = reply.content if isinstance(reply.content, bytes) else orjson.dumps(reply.content)
        return reply, body, lines(reply.entries)

    def _labels(self, use_case: str) -> tuple[str, str]:
        """(use case, served version) as labels. Text of a request must never become a label."""
        champions = self._service.champions
        if champion := champions.find(use_case):
            return use_case, champion.label
        return champions.known(use_case) or UNKNOWN, ""


class Shortcut:
    """Gives `POST /{kind}` and `POST /{kind}/{use_case}` to one endpoint, and everything else to the application."""

    def __init__(self, app: ASGIApp, endpoint: Endpoint):
        self._app = app
        self._endpoint = endpoint
        self._path = re.compile(f"/{endpoint.kind}(?:/([^/]+))?")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        post = scope["type"] == "http" and scope["method"] == "POST"
        # A path that ends in a slash doesn't match; the router redirects it.
        if post and (found := self._path.fullmatch(scope["path"])):
            await self._endpoint.answer(scope, receive, send, {"use_case": found[1]} if found[1] else {})
        else:
            await self._app(scope, receive, send)
