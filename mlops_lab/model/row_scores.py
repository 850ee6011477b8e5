"""What challenger and champion predicted for each test row: a promotion's evidence, kept as a Parquet file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlops_lab.errors import ModelError, first_line

# Of the file's own metadata; columns of a classifier's probabilities are `challenger.0`, `challenger.1`, …
_FACTS, _SLICE = b"lab", "slice."


@dataclass(frozen=True)
class RowScores:
    """The outputs of two models on the same n rows, with the ground truth.

    truth:      as a metric takes it, (n,).
    challenger, champion: outputs of the graphs, float32 (n,) or (n, classes).
    groups:     the group of each row, a number, (n,).
    slices:     feature → the value of each row as a text, (n,); of the features that the policy names.
    thresholds: of challenger and champion; binary models only.
    baseline:   metric → score of the naive baseline on test rows.
    worse_live: what live traffic said against the challenger; empty when it said nothing.
    """

    truth: np.ndarray
    challenger: np.ndarray
    champion: np.ndarray
    groups: np.ndarray
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)
    thresholds: tuple[float | None, float | None] = (None, None)
    baseline: Mapping[str, float] = field(default_factory=dict)
    worse_live: str = ""

    def to_parquet(self) -> bytes:
        """The file: one row for each test row, about 10 to 20 bytes for each row and model output."""
        import pyarrow
        from pyarrow import parquet

        columns: dict[str, Any] = {"group": self.groups.astype(np.int32), "truth": self.truth}
        for name, output in (("challenger", self.challenger), ("champion", self.champion)):
            wide = output.astype(np.float32).reshape(len(self.truth), -1)
            columns |= {f"{name}.{index}": wide[:, index] for index in range(wide.shape[1])}
        for name, values in self.slices.items():
            columns[_SLICE + name] = pyarrow.array(values, pyarrow.string()).dictionary_encode()
        facts = {
            "wide": self.challenger.ndim == 2,
            "thresholds": self.thresholds,
            "baseline": dict(self.baseline),
            "worse_live": self.worse_live,
        }
        table = pyarrow.table(columns).replace_schema_metadata({_FACTS: json.dumps(facts)})
        buffer = pyarrow.BufferOutputStream()
        parquet.write_table(table, buffer, compression="zstd")
        return buffer.getvalue().to_pybytes()

    @classmethod
    def from_parquet(cls, content: bytes) -> "RowScores":
        """Raises `ModelError` when the bytes aren't such a file."""
        import pyarrow
        from pyarrow import parquet

        try:
            table = parquet.read_table(pyarrow.BufferReader(content))
            facts = json.loads((table.schema.metadata or {})[_FACTS])
            columns = {name: table[name].to_numpy() for name in table.column_names}

            def output(model: str) -> np.ndarray:
                wide = [values for name, values in columns.items() if name.startswith(f"{model}.")]
                return np.column_stack(wide) if facts["wide"] else wide[0]

            before, after = facts["thresholds"]
            return cls(
                truth=columns["truth"],
                challenger=output("challenger"),
                champion=output("champion"),
                groups=columns["group"],
                slices={
                    name.removeprefix(_SLICE): values
                    for name, values in columns.items()
                    if name.startswith(_SLICE)
                },
                thresholds=(before, after),
                baseline=facts["baseline"],
                worse_live=facts["worse_live"],
            )
        except (pyarrow.ArrowException, LookupError, TypeError, ValueError) as error:
            raise ModelError(f"the per-row scores can't be read: {first_line(error)}") from error
