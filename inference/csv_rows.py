"""Rows as CSV with a header, in and out. Every value is a text, which the contract reads as it reads texts in JSON."""

import csv
import io
from typing import Any

from inference.body import check_values
from inference.errors import BadBody, problem


def read_csv(body: bytearray) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header; every value is a text. Raises `BadBody`, `ContractError`, `TooLarge`."""
    check_values(body)
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        lines = [line for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadBody(f"the body is not CSV in UTF-8: {error}") from None
    if len(set(header)) < len(header):
        raise problem("", "unknown", "the header names a column twice")
    if not lines:
        raise problem("", "length", "there must be a header and at least one row")
    return [named(header, line, number) for number, line in enumerate(lines)]


def write_csv(columns: dict[str, list[Any]]) -> bytes:
    """The columns as CSV; booleans are `true` and `false`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([str(value).lower() if isinstance(value, bool) else value for value in row])
    return text.getvalue().encode()


def named(columns: list[str], values: list[Any], number: int) -> dict[str, Any]:
    """The row of this number, by column. Raises `ContractError` when it is too short or too long."""
    if len(values) != len(columns):
        message = f"has {len(values)} values, and there are {len(columns)} columns"
        raise problem("", "length", message, number)
    return dict(zip(columns, values, strict=True))
