"""The file of predictions: CSV, or Parquet by way of an Arrow stream.

Both are first written as bytes that can be cut off and added to; a Parquet file can't be continued after a kill.
"""

import os
from pathlib import Path
from typing import Any

from mlops_lab.contract import Contract
from mlops_lab.tabular import csv_lines, interval_columns, prediction_columns


class Output:
    """CSV. The bytes of the part are those of the file."""

    def __init__(self, contract: Contract, interval: bool):
        self._contract, self._interval = contract, interval

    def head(self) -> bytes:
        """What stands before the first row."""
        return csv_lines(self._empty())

    def lines(self, columns: dict[str, list[Any]]) -> bytes:
        """The predictions of a chunk; no columns when all its rows were refused."""
        return csv_lines(columns, header=False) if columns else b""

    def finish(self, part: Path) -> Path:
        """The finished file, made of the part's bytes beside it."""
        return part

    def _empty(self) -> dict[str, list[Any]]:
        columns = prediction_columns([], [], self._contract.classes, None)
        limits = interval_columns([]) if self._interval else {}
        return {"row": []} | columns | limits | {"model_version": []}


class _Parquet(Output):
    def head(self) -> bytes:
        return self._schema().serialize().to_pybytes()

    def lines(self, columns: dict[str, list[Any]]) -> bytes:
        import pyarrow

        if not columns:
            return b""
        batch = pyarrow.RecordBatch.from_pydict(columns, schema=self._schema())
        return batch.serialize().to_pybytes()

    def finish(self, part: Path) -> Path:
        import pyarrow
        from pyarrow import parquet

        made = part.with_name("predictions.parquet")
        with (
            pyarrow.OSFile(str(part)) as file,
            pyarrow.ipc.open_stream(file) as stream,
            parquet.ParquetWriter(made, stream.schema) as writer,
        ):
            for batch in stream:
                writer.write_batch(batch)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        return made

    def _schema(self) -> Any:
        """The columns' types, which the rows of a single chunk may not tell."""
        import pyarrow

        values = {"regression": pyarrow.float64(), "binary": pyarrow.bool_(), "multiclass": pyarrow.string()}
        types = {
            "row": pyarrow.int64(),
            "prediction_id": pyarrow.string(),
            "prediction": values[self._contract.task],
            "model_version": pyarrow.int64(),
        }
        return pyarrow.schema([(name, types.get(name, pyarrow.float64())) for name in self._empty()])


def output_for(target: Path, contract: Contract, interval: bool = False) -> Output:
    """The output by the ending of its file. interval: with the limits of each prediction."""
    kind = _Parquet if target.suffix.lower() == ".parquet" else Output
    return kind(contract, interval)
