"""Tables as raw rows with JSON types, and predictions as a table: what the service and batch scoring read and write."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from mlops_lab.errors import ContractError


def problem(field: str, rule: str, message: str, row: int = 0) -> ContractError:
    """One fault of a table's or a request's shape, in the form of a fault in a row."""
    return ContractError([{"row": row, "field": field, "rule": rule, "message": message}])


def named(columns: list[str], values: list[Any], number: int) -> dict[str, Any]:
    """The row of this number, by column. Raises `ContractError` when it is too short or too long."""
    if len(values) != len(columns):
        message = f"has {len(values)} values, and there are {len(columns)} columns"
        raise problem("", "length", message, number)
    return dict(zip(columns, values, strict=True))


def rows_of_columns(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The rows of columns that have the same length."""
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def arrow_columns(table: Any) -> dict[str, list[Any]]:
    """The values of an Arrow table by column, JSON types; NaN is null.

    A column has numbers, booleans, texts (plain or as a dictionary), days or moments; any other raises `ContractError`.
    """
    return {
        name: _values(name, column) for name, column in zip(table.column_names, table.columns, strict=True)
    }


def texts_of(schema: Any) -> list[str]:
    """The columns of an Arrow schema that have texts.

    A reader takes them as dictionaries, because a text that every row has would be copied for each of them.
    """
    return [field.name for field in schema if _is_text(field.type)]


def prediction_columns(
    ids: list[str], values: list[Any], classes: list[str], probabilities: Iterable[Iterable[float]] | None
) -> dict[str, list[Any]]:
    """Predictions as a table: id, prediction and, for classifiers, a probability for each class."""
    columns: dict[str, list[Any]] = {"prediction_id": ids, "prediction": values}
    names = [f"probability_{name}" for name in classes]
    # Without rows, each class still has its column.
    by_class: list[Any] = list(zip(*probabilities, strict=True)) if probabilities else []
    return columns | dict(zip(names, map(list, by_class or [()] * len(names)), strict=True))


def interval_columns(limits: Iterable[Sequence[float]]) -> dict[str, list[Any]]:
    """The lower and the upper limit of each prediction as columns. limits: one pair for each."""
    pairs = list(limits)
    return {
        "prediction_low": [low for low, _ in pairs],
        "prediction_high": [high for _, high in pairs],
    }


def csv_lines(columns: dict[str, list[Any]], header: bool = True) -> bytes:
    """The columns as CSV; booleans are `true` and `false`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if header:
        writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
    return text.getvalue().encode()


def _values(name: str, column: Any) -> list[Any]:
    from pyarrow import float64, string, types

    kind = column.type
    if types.is_dictionary(kind) and _is_text(kind.value_type):
        # A text that many rows have stays one object.
        found: list[Any] = []
        for chunk in column.chunks:
            texts = chunk.dictionary.to_pylist()
            found += [None if index is None else texts[index] for index in chunk.indices.to_pylist()]
        return found
    if types.is_date(kind) or types.is_timestamp(kind):
        return column.cast(string()).to_pylist()
    if types.is_floating(kind) or types.is_decimal(kind):
        return [None if value != value else value for value in column.cast(float64()).to_pylist()]
    if _is_text(kind) or types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind):
        return column.to_pylist()
    raise problem(
        name[:60], "type", f"must be numbers, booleans, texts, days or moments, not {str(kind)[:40]}"
    )


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind)
