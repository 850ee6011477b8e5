"""The clean rows of a batch as an Arrow table with the declared types: what CleanData and a snapshot store."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlops_lab import features
from mlops_lab.errors import LabError, first_line
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd

# What the lab adds to features and target.
OWN = {"split": pa.string(), "row_hash": pa.string(), "group_hash": pa.string(), "row_index": pa.int32()}


def schema(use_case: UseCase) -> pa.Schema:
    """The columns of clean rows: features, target, split, row_hash, group_hash, row_index."""
    declared = [(column.name, type_of(column)) for column in (*use_case.features, use_case.target)]
    return pa.schema([*declared, *OWN.items()])


def from_frame(use_case: UseCase, frame: "pd.DataFrame") -> pa.Table:
    """Prepared rows as a table, in the order of their position in the payload, which is the frame's index.

    Raises `LabError` when the use case's clean function has made values of another type than the declared one.
    """
    frame = frame.sort_index(kind="stable")
    found = frame.assign(row_index=frame.index)
    target = schema(use_case)
    arrays = []
    for field in target:
        try:
            arrays.append(array(found[field.name], field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise LabError(
                f"the clean function of {use_case.name} makes values of {field.name} that are no {field.type}: "
                f"{first_line(error)}"
            ) from error
    return pa.Table.from_arrays(arrays, schema=target)


def from_rows(use_case: UseCase, names: Sequence[str], parts: Iterable[Sequence[Sequence[Any]]]) -> pa.Table:
    """Stored rows as a table. names: the columns of a row, in its order. parts: the rows, some at a time."""
    target = schema(use_case)
    batches = [
        pa.RecordBatch.from_arrays(
            [pa.array(values, target.field(name).type) for name, values in zip(names, columns, strict=True)],
            names=list(names),
        ).select(target.names)
        for part in parts
        if (columns := list(zip(*part, strict=True)))
    ]
    # One chunk a column, as `from_frame` has, so that equal rows are stored as equal bytes.
    return pa.Table.from_batches(batches, schema=target).combine_chunks()


def type_of(feature: features.Feature) -> pa.DataType:
    """The type in which values of the feature are stored."""
    if isinstance(feature, features.Integer):
        return pa.int64()
    if isinstance(feature, features.Number):
        return pa.float64()
    if isinstance(feature, features.Boolean):
        return pa.bool_()
    return pa.date32() if isinstance(feature, features.Date) else pa.string()


def array(column: "pd.Series", type_: pa.DataType) -> pa.Array:
    """A column with this type. Raises an error of Arrow, ValueError or TypeError when its values don't convert."""
    if pa.types.is_string(type_) and column.dtype != "str":
        texts = [
            None if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)
        ]
        return pa.array(texts, type_)
    found = pa.array(column, from_pandas=True)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    # A whole number must stay one; a moment becomes its day, and a whole number the nearest 64-bit float.
    found = found.cast(type_, safe=pa.types.is_integer(type_))
    if pa.types.is_floating(type_) and not np.isfinite(found.drop_null().to_numpy()).all():
        raise ValueError("a number isn't finite")
    return found
