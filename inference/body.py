"""The body of a request: read with limits, parsed, and turned into rows."""

import contextlib
import json
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from inference.errors import BadBody, Busy, TooLarge, WrongContentType, problem

JSON, CSV = "application/json", "text/csv"

# Values of JSON in a body. Each takes up to 100 bytes of memory, however few bytes it has in the body: an empty list
# has two. The largest request of good rows has less than half as many.
MAX_VALUES = 1_000_000


class Intake:
    """Reads bodies, and bounds what one of them and all of them together hold in memory."""

    def __init__(self, limit: int, total: int):
        """limit: bytes of one body. total: bytes of all that are held at once."""
        self._limit, self._total = limit, total
        self._held = 0

    async def read(
        self,
        headers: list[tuple[bytes, bytes]],
        receive: Receive,
        body: bytearray,
        accepted: tuple[str, ...] = (JSON,),
    ) -> str:
        """Fills `body` with that of an ASGI request, and returns its content type without parameters.

        The body counts as held until `release` is called. accepted: the content types that the caller can read;
        among them "" for none.

        Raises `WrongContentType`, `TooLarge`, `Busy`, or Starlette's `ClientDisconnect`.
        """
        content_type, length, from_a_page = "", 0, False
        for name, value in headers:
            if name == b"content-type":
                content_type = value.decode("latin-1").partition(";")[0].strip().lower()
            elif name == b"content-length":
                # The server has checked that it is a number. A chunked body has none.
                length = int(value)
            elif name == b"origin":
                from_a_page = True
        # A page in a browser can send text/plain, the types of forms and no type at all to 127.0.0.1 without its
        # owner's consent. Its browser adds where it comes from.
        if content_type not in accepted or (from_a_page and not content_type):
            names = " or ".join(filter(None, accepted))
            raise WrongContentType(f"send the body with the header Content-Type: {names}")
        self._check(length)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part, more = message.get("body", b""), message.get("more_body", False)
            self._check(len(body) + len(part))
            if self._held + len(part) > self._total:
                raise Busy("too many large requests at once; try again in a second")
            self._held += len(part)
            body += part
        return content_type

    def release(self, body: bytearray) -> None:
        """Ends what `read` began, whether it raised or not."""
        self._held -= len(body)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise TooLarge(
                f"the body is too large; at most {self._limit} bytes are taken in one request, send several"
            )


def check_values(body: bytearray, least: int = 2) -> None:
    """Raises `TooLarge` when the body has more values than may be held in memory.

    least: bytes that a value takes at least. In JSON it has a comma after it, or a bracket that closes it.
    """
    # A value begins the body, or follows one of these. They may be part of a text as well, so this is an upper bound.
    if len(body) > least * MAX_VALUES:
        check_number(sum(map(body.count, (b",", b"[", b"{"))))


def check_number(values: int) -> None:
    """Raises `TooLarge` when these are more values than may be held in memory."""
    if values > MAX_VALUES:
        raise TooLarge(f"the body has more than {MAX_VALUES} values; send several requests")


def check_rows(rows: int, limit: int) -> None:
    """Raises `TooLarge` when these are more rows than a request may have."""
    if rows > limit:
        raise TooLarge(f"{rows} rows; at most {limit} are taken in one request, send several")


def parse(body: bytearray) -> Any:
    """The JSON value in a body. Raises `BadBody` when it isn't JSON, `TooLarge` when it has too many values."""
    check_values(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBody(
            f"the body is not JSON: {error}" if body else "the body is empty; send one row as JSON"
        ) from None


def parse_with_nan(body: bytearray) -> Any:
    """The same, and NaN may be a value, which is no JSON: clients in Python write it for a missing number."""
    try:
        return parse(body)
    except BadBody:
        if b"NaN" not in body:
            raise
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(body)
        raise


def rows_of(value: Any) -> list[dict[str, Any]]:
    """The rows in a parsed body: one object, or `{"rows": [...]}`. Raises `ContractError`."""
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
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise problem("", "type", "a row must be an object", index)
    return rows
