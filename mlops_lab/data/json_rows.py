"""The rows of a JSON payload some at a time: beside the text, only these are Python objects in memory.

The array `data` of the outermost object is read value by value. What this doesn't expect, such as the key `data` twice,
is left to `json.loads`, which also words every error.
"""

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring
from typing import Any

ROWS = "data"
# Bytes in which the object's head is looked for.
HEAD = 10_000
_SPACE: Any = re.compile(r"[ \t\n\r]*").match
_NEXT = re.compile(r"[ \t\n\r]*,[ \t\n\r]*").match
# An object whose only list of values is the last one, `data`, but for a list of names: then its number is in its head.
_HEAD = re.compile(
    rb'\s*\{(?:\s*"[a-z_]{1,40}"\s*:\s*(?:-?\d+|"[^"\\]*"|\[(?:\s*"[^"\\]*"\s*,?)*\])\s*,)*\s*"data"\s*:\s*\['
)
_TAIL = re.compile(rb"\]\s*\}\s*\Z")


class AgainError(Exception):
    """The rows that were given so far were read wrongly. The next reading is right."""


class JsonRows:
    """body: of a payload. fields: what the object has beside the rows, complete when all rows were given.

    fields is None when the payload is no object. listed: whether it has a list of rows.
    Raises `ValueError` or `RecursionError`, as `json.loads` does, when it isn't JSON.
    """

    def __init__(self, body: bytes):
        self.fields: dict[str, Any] | None = None
        self.listed = True
        self._text = body.decode(json.detect_encoding(body), "surrogatepass")
        self._whole: dict[str, Any] | None = None

    def chunks(self, size: int) -> Iterator[list[Any]]:
        """Lists of at most `size` rows. May raise `AgainError`."""
        if self._whole is not None:
            rows, self.fields = self._whole[ROWS], _others(self._whole)
            yield from (rows[start : start + size] for start in range(0, len(rows), size))
            return
        try:
            yield from self._scan(size)
        except (_UnexpectedError, ValueError, IndexError, RecursionError):
            found = json.loads(self._text)
            if not isinstance(found, dict) or not isinstance(found.get(ROWS), list):
                self.fields, self.listed = _others(found) if isinstance(found, dict) else None, False
                return
            self._whole = found
            raise AgainError from None

    def _scan(self, size: int) -> Iterator[list[Any]]:
        decoder: Any = json.JSONDecoder()
        text, scan = self._text, decoder.scan_once
        fields: dict[str, Any] = {}
        self.fields, seen, mark = fields, False, "{"
        try:
            at = _after(text, 0, mark)
            while mark != "}":
                if text[at] != '"':
                    raise _UnexpectedError
                name, at = scanstring(text, at + 1, True)
                at = _after(text, at, ":")
                if name != ROWS:
                    fields[name], at = scan(text, at)
                else:
                    if seen:
                        raise _UnexpectedError
                    seen, at = True, _after(text, at, "[")
                    rows: list[Any] = []
                    more = text[at] != "]"
                    while more:
                        row, at = scan(text, at)
                        rows.append(row)
                        if more := _NEXT(text, at):
                            at = more.end()
                        if len(rows) == size or not more:
                            yield rows
                            rows = []
                    at = _after(text, at, "]")
                at = _SPACE(text, at).end()
                mark = text[at]
                at = _after(text, at, "}" if mark == "}" else ",")
        except StopIteration:
            raise _UnexpectedError from None
        if not seen or at != len(text):
            raise _UnexpectedError


class _UnexpectedError(Exception):
    pass


def _others(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if name != ROWS}


def number_in_head(body: bytes) -> int | None:
    """`batch_number`, when the object's head has it and nothing but rows follows. The rows aren't read."""
    head = _HEAD.match(body[:HEAD])
    if head is None or _TAIL.search(body[-20:]) is None or body.count(b'"batch_number"') != 1:
        return None
    try:
        return json.loads(head[0] + b"]}").get("batch_number")
    except ValueError:
        return None


def _after(text: str, at: int, mark: str) -> int:
    """The place of the next value after this mark, which must come next."""
    at = _SPACE(text, at).end()
    if text[at] != mark:
        raise _UnexpectedError
    return _SPACE(text, at + 1).end()
