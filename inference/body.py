"""What comes in, at the lowest cost: the body, its size and type, and the rows in it."""

from typing import Any

import orjson

from inference.errors import BadBody, TooLarge, WrongContentType, problem


class Disconnected(Exception):
    """The caller went away before its request was whole; there is nobody to answer."""


async def read_body(scope: dict, receive: Any, limit: int) -> bytes:
    """The body of a JSON request. Raises `WrongContentType`, `TooLarge`, `Disconnected`."""
    content_type = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"content-length" and int(value) > limit:  # the server has checked that it is a number
            raise TooLarge(f"the body has {int(value)} bytes; at most {limit} are taken in one request")
    # Asked for, since a page in a browser can send any other type to 127.0.0.1 without its owner's consent.
    if content_type[:16].lower() != b"application/json":
        raise WrongContentType("send JSON, with the header Content-Type: application/json")
    return await _read(receive, limit)


def parse(body: bytes) -> Any:
    """Raises `BadBody` when it isn't JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(
            f"the body is not JSON: {error}" if body else "the body is empty; send one row as JSON"
        ) from None


def rows_of(body: Any, limit: int) -> list[dict[str, Any]]:
    """The rows in a body: one object, or `{"rows": [...]}`. Raises `ContractError`, `TooLarge`."""
    if not isinstance(body, dict):
        raise problem("", "type", 'the body must be one row (an object) or {"rows": [...]}')
    if "rows" not in body:
        return [body]
    rows = body["rows"]
    if len(body) > 1:
        other = next(key for key in body if key != "rows")
        raise problem(str(other)[:60], "unknown", 'is not expected beside "rows"')
    if not isinstance(rows, list) or not rows:
        raise problem("rows", "type", "must be a list of at least one row")
    if len(rows) > limit:
        raise TooLarge(f"{len(rows)} rows; at most {limit} are taken in one request, send several")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise problem("", "type", "a row must be an object", number)
    return rows


async def _read(receive: Any, limit: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    body = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                break
        body = b"".join(parts)
    if len(body) > limit:
        raise TooLarge(f"the body is too large; at most {limit} bytes are taken in one request")
    return body
