"""Rows as CSV with a header. Every value is a text, which the contract reads as it reads texts in JSON."""

import csv
import io
from typing import Any

from inference.body import check_values
from inference.errors import BadBody, problem
from mlops_lab.tabular import named


def read_csv(body: bytearray) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header; every value is a text. Raises `BadBody`, `ContractError`, `TooLarge`."""
    # An empty value takes only its comma.
    check_values(body, least=1)
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
