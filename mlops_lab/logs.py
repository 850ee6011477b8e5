"""The log of the lab's own services: JSON lines on stderr, each with the id of its request.

It needs the standard library alone, so that every image can have it.
"""

import json
import logging
import re
import sys
import traceback
from collections.abc import MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from mlops_lab.ids import random_hex

request_id: ContextVar[str] = ContextVar("request_id", default="")

_PLAIN_WORD = re.compile(rb"[A-Za-z0-9._:-]{1,64}")


def setup(level: int = logging.INFO) -> None:
    """Sends every logger of the process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("alembic", "mlflow", "urllib3", "httpx"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


class JsonFormatter(logging.Formatter):
    """One record as one JSON line; `extra={"data": {...}}` adds fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get():
            line["request_id"] = request
        line |= getattr(record, "data", {})
        if record.exc_info:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(line, default=str, ensure_ascii=False, separators=(",", ":"))


class RequestId:
    """ASGI middleware: every reply carries `X-Request-ID`, the caller's or a new one, and so does every log line."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        value = request_id_of(scope)
        request_id.set(value)
        header = (b"x-request-id", value.encode())

        async def send_with_id(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        await self.app(scope, receive, send_with_id)


def request_id_of(scope: MutableMapping[str, Any]) -> str:
    """The caller's `X-Request-ID` when it is a plain word of at most 64 characters, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _PLAIN_WORD.fullmatch(value):
            return value.decode()
    return random_hex(16)
