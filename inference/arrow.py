"""Rows as Arrow streams and Parquet files, in and out. pyarrow is loaded with the first such request."""

import io
from collections.abc import Callable
from typing import Any

from inference.body import check_number, check_rows
from inference.errors import BadBody, problem
from inference.inflation import check_message, check_pages
from mlops_lab.errors import LabError, first_line
from mlops_lab.tabular import arrow_columns, texts_of

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"


def read_arrow(body: bytearray, max_rows: int) -> dict[str, list[Any]]:
    """The raw rows of a stream, by column. Raises `BadBody`, `TooLarge`, `ContractError`."""
    import pyarrow

    whole = pyarrow.py_buffer(bytes(body))

    def read() -> Any:
        messages = pyarrow.ipc.MessageReader.open_stream(whole)
        check_rows(sum(check_message(message.metadata.to_pybytes()) for message in messages), max_rows)
        return pyarrow.ipc.open_stream(whole).read_all()

    return _checked(read, "Arrow stream", max_rows)


def read_parquet(body: bytearray, max_rows: int) -> dict[str, list[Any]]:
    """The raw rows of a file, by column. Raises `BadBody`, `TooLarge`, `ContractError`."""
    import pyarrow
    from pyarrow import parquet

    whole = bytes(body)
    check_pages(whole)

    def read() -> Any:
        file = parquet.ParquetFile(pyarrow.BufferReader(whole))
        check_rows(file.metadata.num_rows, max_rows)
        check_number(file.metadata.num_rows * file.metadata.num_columns)
        texts = texts_of(file.schema_arrow)
        return parquet.read_table(pyarrow.BufferReader(whole), read_dictionary=texts, use_threads=False)

    return _checked(read, "Parquet file", max_rows)


def write(columns: dict[str, list[Any]], content_type: str) -> bytes:
    """The columns as a stream or a file."""
    import pyarrow
    from pyarrow import parquet

    table, target = pyarrow.table(columns), io.BytesIO()
    if content_type == PARQUET:
        parquet.write_table(table, target)
    else:
        with pyarrow.ipc.new_stream(target, table.schema) as stream:
            stream.write_table(table)
    return target.getvalue()


def _checked(read: Callable[[], Any], what: str, max_rows: int) -> dict[str, list[Any]]:
    """The columns of the table that `read` reads. Raises `BadBody` when it can't be read."""
    import pyarrow

    try:
        table = read()
        # Offsets that point beyond the body would be read as they are.
        table.validate(full=True)
        return _columns(table, max_rows)
    except LabError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise BadBody(f"the body is no {what}: {first_line(error)}") from None


def _columns(table: Any, max_rows: int) -> dict[str, list[Any]]:
    names = table.column_names
    if len(set(names)) < len(names):
        raise problem("", "unknown", "two columns have the same name")
    check_rows(len(table), max_rows)
    check_number(len(table) * len(names))
    if not len(table):
        raise problem("", "length", "there must be at least one row")
    return arrow_columns(table)
