"""The body of a request: read with a limit, parsed, and turned into rows."""

from typing import Any

import orjson
from fastapi import Request

from inference.errors import BadBody, TooLarge, WrongContentType, problem


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a JSON request.

    limit: bytes. Raises `WrongContentType`, `TooLarge`, or Starlette's `ClientDisconnect`.
    """
    # A page in a browser can send any other type to 127.0.0.1 without its owner's consent.
    if not request.headers.get("content-type", "").lower().startswith("application/json"):
        raise WrongContentType("send JSON, with the header Content-Type: application/json")
    too_large = TooLarge(f"the body is too large; at most {limit} bytes are taken in one request")
    # The server has checked that Content-Length is a number. A chunked body has none.
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise too_large
    return bytes(body)


def parse(body: bytes) -> Any:
    """The JSON value in a body. Raises `BadBody` when it isn't JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(
            f"the body is not JSON: {error}" if body else "the body is empty; send one row as JSON"
        ) from None


def rows_of(value: Any, limit: int) -> list[dict[str, Any]]:
    """The rows in a parsed body: one object, or `{"rows": [...]}`. Raises `ContractError`, `TooLarge`."""
    if not isinstance(value, dict):
        raise problem("", "type", 'the body must be one row (an object) or {"rows": [...]}')
    if "rows" not in value:
        return [value]
    rows = value["rows"]
    if len(value) > 1:
        other = next(key for key in value if key != "rows")
        raise problem(str(other)[:60], "unknown", 'is not expected beside "rows"')
    if not isinstance(rows, list) or not rows:
        raise problem("rows", "type", "must be a list of at least one row")
    if len(rows) > limit:
        raise TooLarge(f"{len(rows)} rows; at most {limit} are taken in one request, send several")
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise problem("", "type", "a row must be an object", index)
    return rows
