"""Rows, decoded, checked and encoded by a schema that is compiled from the contract.

It takes only rows that `Contract.read` leaves as they are: numbers as numbers, texts without spaces around them, days
as `YYYY-MM-DD`. Of rows that have only texts, as CSV has, it also reads plain numbers, booleans and empty values.
`Contract.read` does everything else, also every error, so that no rule stands here a second time.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.features import FLOAT32_MAX, Boolean, Feature, FieldError, Integer, Number
from mlops_lab.tabular import rows_of_columns

# A larger integer may not be exact as a float, and `Feature.read` rounds it.
EXACT_INTEGER = 2**53
# For each feature, the number and the length of texts whose codes are remembered. Clients may send endless new ones.
REMEMBERED_TEXTS, REMEMBERED_LENGTH = 4096, 64

# From so many rows on, encoding column by column takes less time than row by row.
BY_COLUMN = 32
# Rows that are read or encoded at once: their texts are still in the processor's cache then.
CHUNK = 128

_MANY = re.compile(rb'\s*\{\s*"rows"\s*:')
# The characters of texts that Python and `Number` read as the same number: no nan, no inf, no 1_000.
_DIGITS = re.compile(r"[0-9eE+.-]*")


@dataclass(frozen=True)
class Decoded:
    """Rows that keep the contract.

    rows:   n objects; msgspec writes each as a JSON object of the typed row, with the features in order.
    matrix: the same rows as the model's input, float32 (n, features).
    """

    rows: list[msgspec.Struct]
    matrix: np.ndarray


class Decoder:
    """The compiled schema of one contract. Threads may share it."""

    def __init__(self, contract: Contract):
        features, missing = contract.features, frozenset(contract.missing)
        row = msgspec.defstruct(
            "Row",
            [(f"f{index}", _type(feature)) for index, feature in enumerate(features)],
            # A feature's name may be no identifier.
            rename={f"f{index}": feature.name for index, feature in enumerate(features)},
            forbid_unknown_fields=True,
            gc=False,
        )
        many: Any = msgspec.defstruct("Rows", [("rows", list[row])], forbid_unknown_fields=True)
        self._one, self._many = msgspec.json.Decoder(row), msgspec.json.Decoder(many)
        self._row, self._rows = row, _list_of(row)
        self._columns = {feature.name: _list_of(_type(feature)) for feature in features}
        self._codes = [
            (index, _Codes(feature, missing))
            for index, feature in enumerate(features)
            if not isinstance(feature, Number | Boolean)
        ]
        self._features, self._nulls = features, missing | {""}
        self._numbers = [index for index, feature in enumerate(features) if isinstance(feature, Number)]
        self._missing_numbers = frozenset(_numbers(missing))
        words = missing & {"true", "false"} and any(isinstance(feature, Boolean) for feature in features)
        self._off = bool(words)
        # A feature of the name `rows` can't be told from a list of rows.
        self._ambiguous = any(feature.name == "rows" for feature in features)

    def decode(self, body: bytes | bytearray) -> Decoded | None:
        """The rows in a body of JSON: one object, or `{"rows": [...]}`.

        None when `Contract.read` has to read them: because they break a rule, or because it must change a value.
        """
        if self._off or self._ambiguous:
            return None
        try:
            rows = self._many.decode(body).rows if _MANY.match(body) else [self._one.decode(body)]
            return self._encoded(rows, negative_zeros=b"-0" in body) if rows else None
        except (_ToRead, msgspec.MsgspecError, ValueError, RecursionError):
            return None

    def take(self, rows: list[dict[str, Any]]) -> Decoded | None:
        """The same for raw rows that are no JSON any more; their values have JSON types, or all of them are texts."""
        if self._off or not rows:
            return None
        try:
            if all(isinstance(value, str) for value in rows[0].values()):
                rows = [row for chunk in _chunks(rows) for row in self._from_texts(chunk)]
            return self._encoded(msgspec.convert(rows, self._rows), negative_zeros=True)
        except _UNREADABLE:
            return None

    def take_columns(self, columns: dict[str, list[Any]]) -> Decoded | None:
        """The same for raw rows as columns of the same length. It doesn't read numbers from texts."""
        if self._off or columns.keys() != self._columns.keys():
            return None
        try:
            read = [msgspec.convert(columns[name], kind) for name, kind in self._columns.items()]
            rows = [*map(self._row, *read)]
            return self._encoded(rows, negative_zeros=True) if rows else None
        except _UNREADABLE:
            return None

    def remembered(self) -> int:
        """The number of texts whose codes are in memory."""
        return sum(len(codes) for _, codes in self._codes)

    def _from_texts(self, rows: list[dict[str, str]]) -> list[dict[str, Any]]:
        """The rows with JSON types. Raises an error where a value is none of the plain texts."""
        if any(len(row) != len(self._features) for row in rows):
            raise _ToRead
        columns = ((feature, feature.name) for feature in self._features)
        return rows_of_columns(
            {
                name: _from_texts(feature, [row[name] for row in rows], self._nulls)
                for feature, name in columns
            }
        )

    def _encoded(self, rows: list[msgspec.Struct], negative_zeros: bool) -> Decoded:
        if len(rows) < BY_COLUMN:
            numbers = self._by_row(rows)
        else:
            numbers = np.concatenate([self._by_column(chunk) for chunk in _chunks(rows)])
        if negative_zeros and np.signbit(numbers[numbers == 0]).any():
            raise _ToRead
        return Decoded(rows, numbers.astype(np.float32, order="C"))

    def _by_row(self, rows: list[msgspec.Struct]) -> np.ndarray:
        cells = [list(msgspec.structs.astuple(row)) for row in rows]
        for row in cells:
            if self._missing_numbers and any(row[i] in self._missing_numbers for i in self._numbers):
                raise _ToRead
            for index, codes in self._codes:
                row[index] = codes[row[index]]
        # None becomes NaN.
        return np.array(cells, dtype=np.float64)

    def _by_column(self, rows: list[msgspec.Struct]) -> np.ndarray:
        columns: list[Any] = list(zip(*map(msgspec.structs.astuple, rows), strict=True))
        if self._missing_numbers and not all(
            self._missing_numbers.isdisjoint(columns[index]) for index in self._numbers
        ):
            raise _ToRead
        for index, codes in self._codes:
            columns[index] = np.fromiter(map(codes.__getitem__, columns[index]), np.float64, len(rows))
        matrix = np.empty((len(columns), len(rows)))
        for index, column in enumerate(columns):
            matrix[index] = column
        return matrix.T


class _ToRead(Exception):
    """`Contract.read` has to read the request."""


_UNREADABLE = (
    _ToRead,
    msgspec.MsgspecError,
    ArithmeticError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)


class _Codes(dict[str | None, float]):
    """Text of a category or a date → its code. A new text is read, checked and encoded by the feature itself."""

    def __init__(self, feature: Feature, missing: frozenset[str]):
        super().__init__({None: feature.encode(None)})
        self._feature, self._missing = feature, missing

    def __missing__(self, text: str | None) -> float:
        try:
            value = self._feature.read(text, self._missing)
        except FieldError:
            raise _ToRead from None
        if value is None or str(value) != text:
            raise _ToRead
        code = self._feature.encode(value)
        if len(self) < REMEMBERED_TEXTS and len(str(text)) <= REMEMBERED_LENGTH:
            self[text] = code
        return code


def _chunks(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]


def _from_texts(feature: Feature, texts: list[str], nulls: frozenset[str]) -> list[Any]:
    """A column's values with JSON types."""
    if not nulls.isdisjoint(texts):
        filled = iter(_from_texts(feature, [text for text in texts if text not in nulls], nulls))
        return [None if text in nulls else next(filled) for text in texts]
    match feature:
        case Number():
            if not _DIGITS.fullmatch("".join(texts)):
                raise _ToRead
            found: list[Any] = [*map(float, texts)]
            if not isinstance(feature, Integer):
                return found
            whole = [*map(int, found)]
            if whole != found:
                raise _ToRead
            return whole
        case Boolean():
            return [feature.WORDS[text.lower()] for text in texts]
        case _:
            return texts


def _type(feature: Feature) -> Any:
    """What msgspec takes for a feature."""
    match feature:
        case Integer():
            found: Any = Annotated[int, _bounds(feature, EXACT_INTEGER, int)]
        case Number():
            found = Annotated[float, _bounds(feature, FLOAT32_MAX, float)]
        case Boolean():
            found = bool
        case _:
            found = str
    return found if feature.required else found | None


def _list_of(kind: Any) -> Any:
    return list[kind]


def _bounds(feature: Number, limit: float, kind: type[int] | type[float]) -> msgspec.Meta:
    """The narrower ones of the feature's and the type's."""
    least = -limit if feature.minimum is None else max(feature.minimum, -limit)
    most = limit if feature.maximum is None else min(feature.maximum, limit)
    if kind is int:
        least, most = math.ceil(least), math.floor(most)
    return msgspec.Meta(ge=kind(least), le=kind(most))


def _numbers(words: Iterable[str]) -> Iterable[float]:
    """The numbers that have the same text as a word for "missing"."""
    for word in words:
        with suppress(ValueError):
            yield float(word)
