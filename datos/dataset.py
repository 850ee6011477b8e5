"""What the Data API needs to know of a data set, whatever it is made from."""

import re
from typing import Protocol

from mlops_lab.errors import LabError

NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
"""Text that loses nothing as a number: a leading zero makes it a code, `nan` and `inf` are words."""


class DatasetError(LabError):
    """This one data set can't be served; the text says why and what to do, in one line."""


class Dataset(Protocol):
    """A table served in batches, numbered from 1."""

    source: str  # where it comes from, for people
    columns: tuple[str, ...]
    kinds: dict[str, type]  # int or float for columns of numbers; all others are text
    sizes: tuple[int, ...]  # rows of each batch

    def read(self, number: int) -> list[list[str]]:
        """Rows of batch `number` as texts in the order of `columns`; "" is null."""
        ...


def as_objects(dataset: Dataset, rows: list[list[str]]) -> list[dict]:
    """Rows as objects with natural JSON values: numbers where the column holds numbers, None for "".

    A text in a column of numbers stays text: it is for the reader to refuse.
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
