"""What a data set of the Data API has, whatever it is made from."""

import re
from typing import Any, Protocol

from mlops_lab.errors import LabError

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
"""Text that is the same as a number. `007` isn't (a code), nor are the words `nan` and `inf`."""


class DatasetError(LabError):
    """This one data set can't be served; the text says why and what to do, in one line."""


class Dataset(Protocol):
    """A table served in batches, numbered from 1.

    source: where it comes from, in words. kinds: int or float for each column of numbers; the others are text.
    sizes: rows of each batch.
    """

    source: str
    columns: tuple[str, ...]
    kinds: dict[str, type]
    sizes: tuple[int, ...]

    def read(self, number: int) -> list[list[str]]:
        """Rows of batch `number` as texts in the order of `columns`; "" is null."""
        ...


def as_objects(dataset: Dataset, rows: list[list[str]]) -> list[dict[str, Any]]:
    """Rows as objects with natural JSON values: numbers where the column holds numbers, None for "".

    A text in a column of numbers stays text: the reader refuses it.
    """
    kinds = [dataset.kinds.get(name) for name in dataset.columns]
    return [
        {name: _value(text, kind) for name, kind, text in zip(dataset.columns, kinds, row, strict=True)}
        for row in rows
    ]


def _value(text: str, kind: type | None) -> str | float | int | None:
    if text == "":
        return None
    if kind is None or not NUMBER.fullmatch(text):
        return text
    return kind(text)
