"""The origin of a model: its rows with their digest, the code's commit, the libraries that learned it."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from mlops_lab.data.history import History
from mlops_lab.data.split import LEARNT
from mlops_lab.history import HistoryPolicy, Lineage
from mlops_lab.use_case import UseCase

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
# Rows that are hashed at once.
DIGEST_ROWS = 50_000


@dataclass(frozen=True)
class Provenance:
    """Which rows a training read, and of which: as in `Lineage`. digest: as `rows_digest` gives it."""

    batches: list[int]
    rows: dict[str, int]
    split_day: str | None
    history: HistoryPolicy
    left_out: dict[str, int]
    unread: list[int]
    digest: str


def provenance(use_case: UseCase, found: History) -> Provenance:
    """found: read by the use case's policy."""
    return Provenance(
        batches=found.batches,
        rows=found.frame["split"].value_counts().to_dict(),
        split_day=use_case.split_day,
        history=use_case.history,
        left_out=found.left_out,
        unread=found.unread,
        digest=rows_digest(found.frame),
    )


def provenance_of_all(use_case: UseCase, frames: Iterable[pd.DataFrame]) -> Provenance:
    """Of all stored rows, which are read some at a time; frames: in their order, with equal columns."""
    batches: set[int] = set()
    rows = Counter[str]()
    checksum: Any = None
    for frame in frames:
        batches |= {int(number) for number in frame["batch_id"].unique()}
        rows.update(frame["split"].value_counts().to_dict())
        checksum = checksum or _checksum(frame)
        checksum.update(_hashes(frame))
    return Provenance(
        batches=sorted(batches),
        rows=dict(rows),
        split_day=use_case.split_day,
        history=use_case.history,
        left_out={},
        unread=[],
        digest=checksum.hexdigest() if checksum else "",
    )


def origin(
    run_id: str, candidate: str, read: Provenance, created_at: datetime, engine: Mapping[str, str]
) -> Lineage:
    """The lineage of a model that learns from the rows that were read, here and now; engine: as `Trained` has it."""
    return Lineage(
        run_id=run_id,
        candidate=candidate,
        learnt=list(LEARNT),
        created_at=created_at,
        commit=commit(),
        libraries=libraries() | dict(engine),
        **vars(read),
    )


def rows_digest(frame: pd.DataFrame) -> str:
    """sha256 over the rows' values, splits, batches and order."""
    checksum = _checksum(frame)
    # Some rows at a time, because pandas makes objects of texts. A row's hash doesn't depend on the others.
    for start in range(0, len(frame), DIGEST_ROWS):
        checksum.update(_hashes(frame.iloc[start : start + DIGEST_ROWS]))
    return checksum.hexdigest()


def _checksum(frame: pd.DataFrame) -> Any:
    return sha256("\0".join(frame.columns).encode())


def _hashes(frame: pd.DataFrame) -> bytes:
    return pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes()


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
