"""The typed rows of a batch as `validate` hands them to `prepare`: a Parquet object in the bucket for the time between.

The two are tasks of their own, and reading the texts of RawData again costs more than all the rest of `prepare`.
RawData stays the record: from its texts the same rows come, where the object is missing or damaged.
"""

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import parquet

from mlops_lab.data import clean_rows
from mlops_lab.data.artifacts import ArtifactError, Artifacts
from mlops_lab.data.tables import Batch
from mlops_lab.data.validate import dtype
from mlops_lab.errors import first_line
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd

_OWN = {"group_hash": pa.string(), "split": pa.string(), "row_index": pa.int64()}
# Of the file's metadata: what its rows are.
_ORIGIN = b"lab.origin"


class DamagedError(Exception):
    """The object can't be used; the text says why."""


class Handover:
    """Collects the rows of a batch, packed, until all of them were checked."""

    def __init__(self, use_case: UseCase, batch: Batch):
        self._schema = _schema(use_case, batch)
        self._sink = pa.BufferOutputStream()
        self._writer = parquet.ParquetWriter(
            self._sink, self._schema, compression="zstd", write_page_checksum=True
        )

    def add(self, frame: "pd.DataFrame") -> None:
        """frame: typed rows with group_hash and split; index: position in the payload."""
        frame = frame.assign(row_index=frame.index)
        arrays = [clean_rows.array(frame[field.name], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def store(self, artifacts: Artifacts, use_case: UseCase, batch: Batch) -> None:
        """Raises `ArtifactError` when the bucket doesn't take the object."""
        self._writer.close()
        artifacts.put(_path(use_case, batch), self._sink.getvalue().to_pybytes())


def take(artifacts: Artifacts, use_case: UseCase, batch: Batch) -> "pd.DataFrame":
    """The rows, as `Store.read_raw` gives them. Raises `DamagedError`, and `ArtifactError` when the store is away."""
    path = _path(use_case, batch)
    try:
        content = artifacts.get(path)
    except ArtifactError:
        if artifacts.size(path):
            raise
        raise DamagedError("are missing") from None
    try:
        table = parquet.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DamagedError(f"are damaged ({first_line(error)})") from None
    if not table.schema.equals(_schema(use_case, batch), check_metadata=True):
        raise DamagedError("are of another declaration of the use case, or of another payload")
    frame = table.to_pandas(split_blocks=True, self_destruct=True)
    types = {column.name: dtype(column) for column in use_case.columns}
    return frame.set_index("row_index").astype(types | {"group_hash": "object", "split": "object"})


def clear(artifacts: Artifacts, use_case: UseCase) -> None:
    """Removes what is handed over in this use case."""
    artifacts.delete(_folder(use_case))


def _schema(use_case: UseCase, batch: Batch) -> pa.Schema:
    """The columns, with the payload and the rules that the rows were checked by."""
    declared = [column.model_dump_json() for column in use_case.columns]
    origin = json.dumps([batch.digest, declared, use_case.missing, use_case.group_key, [*use_case.rules]])
    fields = [(column.name, clean_rows.type_of(column)) for column in use_case.columns]
    return pa.schema([*fields, *_OWN.items()], {_ORIGIN: sha256(origin.encode()).hexdigest().encode()})


def _folder(use_case: UseCase) -> str:
    return f"checked/{use_case.name}"


def _path(use_case: UseCase, batch: Batch) -> str:
    return f"{_folder(use_case)}/{batch.id}.parquet"
