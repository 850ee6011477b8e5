"""Files of rows, the model that scores them, and what a run of it wrote."""

import gzip
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mlops_lab.model.predictor import Predictor
from mlops_lab.model.registry import Version
from mlops_lab.scoring.scorer import Scored, Standing, score
from tests.support import models

VERSION = Version("houses", 7, "run", "d" * 64)


def frame(n: int, seed: int = 1) -> pd.DataFrame:
    """n rows of the small models, some with a value that is missing."""
    return (
        pd.DataFrame(models.raw_rows(min(n, 1000), seed))
        .iloc[[i % 1000 for i in range(n)]]
        .reset_index(drop=True)
    )


def write(rows: pd.DataFrame, path: Path) -> Path:
    """The rows as the file's ending says."""
    if path.suffix == ".parquet":
        rows.to_parquet(path, index=False, row_group_size=170)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(rows.to_csv(index=False).encode(), mtime=0))
    else:
        rows.to_csv(path, index=False)
    return path


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@dataclass
class Run:
    """Runs of one model, with all that they said and reported."""

    predictor: Predictor
    version: Version = VERSION
    said: list[str] = field(default_factory=list)
    reported: list[Standing] = field(default_factory=list)

    def __call__(self, source: Path, target: Path, interval: bool = False) -> Scored:
        hear = (self.reported.append, self.said.append)
        return score(self.predictor, self.version, source, target, *hear, interval)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Everything in the folder; folders by their names alone."""
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in sorted(folder.iterdir())}
