"""A payload of the Data API: its bytes parsed into rows of a use case's raw columns."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from mlops_lab.data.json_rows import AgainError, JsonRows, number_in_head
from mlops_lab.errors import LabError
from mlops_lab.use_case import UseCase

# The ledger keeps a batch's number in 32 bits.
LARGEST_NUMBER = 2**31 - 1
# Rows that are Python objects at a time.
CHUNK = 10_000


class ClosedBatchError(LabError):
    """The batch is closed in this state until a person opens it again, and the next one may follow."""

    state = ""


class BrokenBatchError(ClosedBatchError):
    """The batch is closed as broken."""

    state = "broken"


class HeldBatchError(ClosedBatchError):
    """A check of the batch failed: it is held back, and nothing is learnt from it before a person accepts it."""

    state = "held"


class BatchShapeError(BrokenBatchError):
    """A payload isn't a batch of this use case, so none of its rows can be stored."""


@dataclass(frozen=True)
class RawBatch:
    """A parsed payload: rows as dictionaries of the declared columns, values unchanged.

    misshapen: rows that can't be matched to the columns, as (position, what is wrong, row).
    ignored:   columns of the payload that the use case doesn't declare.
    columns:   all columns of the payload, in its order.
    """

    number: int | None
    rows: list[dict[str, Any]]
    positions: list[int]
    misshapen: list[tuple[int, str, Any]]
    ignored: list[str]
    columns: list[str] = field(default_factory=list)

    @property
    def by_position(self) -> dict[int, Any]:
        """Every row of the payload, misshapen ones too, by its position."""
        return dict(zip(self.positions, self.rows, strict=True)) | {n: row for n, _, row in self.misshapen}


class Payload:
    """A stored payload of which the rows are read some at a time.

    Rows come as objects, or as lists; the payload's own `columns` or a layout of the use case names these.
    Raises `BatchShapeError` when the body is no text.
    """

    def __init__(self, body: bytes, use_case: UseCase):
        self._use_case = use_case
        self._layout: list[str] | None = None
        # Whether the layout is that of all rows, and not of the first ones.
        self._sure = False
        self._json = _json(body)

    def chunks(self, size: int = CHUNK) -> Iterator[RawBatch]:
        """The rows in parts of at most `size`; at least one part.

        Single rows that don't fit are returned apart. `columns` and `ignored` are those of all rows in the last part.
        Raises `BatchShapeError` when the whole payload isn't a batch of this use case, and `AgainError` when its last
        rows say that the first ones were read by a wrong layout. Both make the earlier parts void.
        """
        use_case, wanted = self._use_case, [column.name for column in self._use_case.columns]
        widths, seen, fitting, fault = Counter[int](), 0, 0, False
        present: dict[str, None] = {}
        last: RawBatch | None = None
        for data in _read(self._json, size):
            of_part = Counter(len(row) for row in data if isinstance(row, list))
            widths += of_part
            if not self._sure and not seen:
                try:
                    self._layout = _layout(widths, len(data), use_case, _named(self._json.fields or {}))
                except BatchShapeError:
                    fault = True
            if not fault:
                if last is not None:
                    yield last
                last = _rows(data, seen, self._layout, wanted, present)
                fitting += len(last.rows)
            seen += len(data)
        if (fields := self._json.fields) is None or not self._json.listed:
            raise BatchShapeError('the payload has no list "data"')
        if (number := _number(fields)) is None:
            raise BatchShapeError('the payload has no whole number "batch_number" of 32 bits')
        if not seen:
            yield RawBatch(number, [], [], [], [])
            return
        layout = _layout(widths, seen, use_case, _named(fields))
        if fault or layout != self._layout:
            self._layout, self._sure = layout, True
            raise AgainError
        if not fitting or (absent := [name for name in wanted if name not in present]):
            what = f"columns are missing: {', '.join(absent)}" if fitting else "no row has the shape of a row"
            raise BatchShapeError(f"batch {number} isn't one of {use_case.name}: {what}")
        columns = [encodable(name) for name in present]
        ignored = sorted(set(columns) - set(wanted))
        if last is not None:
            yield replace(last, number=number, columns=columns, ignored=ignored)


def parse(body: bytes, use_case: UseCase) -> RawBatch:
    """A stored payload as rows of the use case's raw columns, all at once. Raises `BatchShapeError`."""
    payload = Payload(body, use_case)
    while True:
        with suppress(AgainError):
            parts = list(payload.chunks())
            return replace(
                parts[-1],
                rows=[row for part in parts for row in part.rows],
                positions=[place for part in parts for place in part.positions],
                misshapen=[row for part in parts for row in part.misshapen],
            )


def batch_number(body: bytes) -> int | None:
    """The payload's number, or None when it can't be read."""
    if (number := number_in_head(body)) is not None:
        return _number({"batch_number": number})
    try:
        rows = _json(body)
        while True:
            with suppress(AgainError):
                for _ in _read(rows, CHUNK):
                    pass
                return _number(rows.fields or {})
    except BatchShapeError:
        return None


def _rows(
    data: list[Any], first: int, layout: list[str] | None, wanted: list[str], present: dict[str, None]
) -> RawBatch:
    """A part of the rows. first: the position of its first one. present: gets the columns of its rows."""
    rows: list[dict[str, Any]] = []
    positions: list[int] = []
    misshapen: list[tuple[int, str, Any]] = []
    for position, row in enumerate(data, first):
        if isinstance(row, dict):
            rows.append(row)
        elif isinstance(row, list) and layout and len(row) == len(layout):
            rows.append(dict(zip(layout, row, strict=True)))
        else:
            misshapen.append((position, f"it {_misfit(row, layout)}", row))
            continue
        positions.append(position)
    present.update(dict.fromkeys(chain.from_iterable(rows)))
    declared = [{name: row.get(name) for name in wanted} for row in rows]
    return RawBatch(None, declared, positions, misshapen, [])


def _json(body: bytes) -> JsonRows:
    try:
        return JsonRows(body)
    except ValueError as error:
        raise BatchShapeError(f"the payload isn't JSON ({error})") from None


def _read(rows: JsonRows, size: int) -> Iterator[list[Any]]:
    try:
        yield from rows.chunks(size)
    except (ValueError, RecursionError) as error:
        raise BatchShapeError(f"the payload isn't JSON ({error})") from None


def as_json(row: Any) -> str:
    """A row of a payload as JSON text that every database can store."""
    try:
        return encodable(json.dumps(row, ensure_ascii=False, default=str))
    except RecursionError:
        return '"(nested too deeply)"'


def encodable(text: str) -> str:
    """The text with an escape in place of what UTF-8 can't encode: JSON may hold half of a pair of surrogates."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _number(payload: dict[str, Any]) -> int | None:
    """The batch's number; None when it isn't a whole number that the ledger can keep."""
    number = payload.get("batch_number")
    if not isinstance(number, int) or isinstance(number, bool) or abs(number) > LARGEST_NUMBER:
        return None
    return number


def _misfit(row: Any, layout: list[str] | None) -> str:
    """Why a row has no columns, in words."""
    if not isinstance(row, list):
        return "has no row"
    return f"has {len(row)} values instead of {len(layout)}" if layout else "is a list among objects"


def _named(payload: dict[str, Any]) -> list[str] | None:
    """The columns that the payload names itself, as the lab's own Data API does."""
    columns = payload.get("columns")
    if columns is None:
        return None
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise BatchShapeError('the payload\'s "columns" is no list of names')
    if len(set(columns)) < len(columns):
        raise BatchShapeError('the payload\'s "columns" has a name twice')
    return columns


def _layout(widths: Counter[int], rows: int, use_case: UseCase, named: list[str] | None) -> list[str] | None:
    """The layout for rows that come as lists: the columns that the payload names, else the layout of the use case with
    as many columns as most of the rows.

    widths: how many lists have each length. rows: all of them, also those that are no lists.

    None when there are no such rows, or when they are a minority and no layout fits one. Raises `BatchShapeError` when
    no layout fits most of a batch of lists, or when the use case's contradicts the payload.
    """
    if not widths:
        return None
    declared = {len(layout): list(layout) for layout in use_case.layouts}
    if named is not None:
        _agree(declared.get(len(named), named), named, use_case)
    layouts = {len(named): named} if named else declared
    if not layouts:
        columns = [column.name for column in use_case.columns]
        layouts = {len(columns): columns}
    if 2 * widths.total() < rows:
        return next((layouts[width] for width, _ in widths.most_common() if width in layouts), None)
    width = widths.most_common(1)[0][0]
    if width not in layouts:
        known = " or ".join(str(size) for size in sorted(layouts))
        raise BatchShapeError(f"rows have {width} values; {use_case.name} has layouts of {known} columns")
    return layouts[width]


def _agree(layout: list[str], named: list[str], use_case: UseCase) -> None:
    """Raises `BatchShapeError` when a layout of the use case names other columns than the payload itself."""
    for position, (ours, theirs) in enumerate(zip(layout, named, strict=True), 1):
        if ours != theirs:
            raise BatchShapeError(
                f"column {position} is {theirs} by the Data API and {ours} by the layout of {use_case.name}; "
                "correct `layouts`, or leave it out"
            )
