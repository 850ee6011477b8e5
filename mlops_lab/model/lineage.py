"""The origin of a model: its rows with their digest, the code's commit, the libraries that learned it."""

import platform
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from mlops_lab.contract import Lineage
from mlops_lab.data.split import LEARNT

# What decides, with the rows and the code, which model comes out.
LIBRARIES = (
    "imbalanced-learn",
    "lightgbm",
    "numpy",
    "onnxmltools",
    "pandas",
    "scikit-learn",
    "scipy",
    "skl2onnx",
)


@dataclass(frozen=True)
class Provenance:
    """Which rows a training read. batches: ids of the ledger. rows: by split. digest: as `rows_digest` gives it."""

    batches: list[int]
    rows: dict[str, int]
    digest: str


def provenance(frame: pd.DataFrame) -> Provenance:
    """frame: rows as `Snapshots.read` gives them."""
    return Provenance(
        batches=sorted(int(number) for number in frame["batch_id"].unique()),
        rows=frame["split"].value_counts().to_dict(),
        digest=rows_digest(frame),
    )


def origin(
    run_id: str, candidate: str, read: Provenance, created_at: datetime, split_day: str | None
) -> Lineage:
    """The lineage of a model that learns from the rows that were read, here and now."""
    return Lineage(
        run_id=run_id,
        candidate=candidate,
        batches=read.batches,
        rows=read.rows,
        learnt=list(LEARNT),
        split_day=split_day,
        created_at=created_at,
        commit=commit(),
        digest=read.digest,
        libraries=libraries(),
    )


def rows_digest(frame: pd.DataFrame) -> str:
    """sha256 over the rows' values, splits, batches and order."""
    checksum = sha256("\0".join(frame.columns).encode())
    checksum.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return checksum.hexdigest()


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The commit that the code is at, where there is a repository."""
    from mlflow.utils.git_utils import get_git_commit

    return get_git_commit(str(Path(__file__).resolve().parent))


@lru_cache(maxsize=1)
def libraries() -> dict[str, str]:
    """The versions of Python, of the libraries that learn, and the processor's architecture."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
