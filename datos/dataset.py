"""The interface of a data set of the Data API, for files and synthetic data alike."""

import re
from typing import Any, Protocol

from mlops_lab.errors import LabError

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
"""A text that is read as a number. `007` isn't one, because it is a code; nor are `nan` and `inf`."""


class DatasetError(LabError):
    """This data set can't be served. The text is one line with the reason and what to do."""


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
