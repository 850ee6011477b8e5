"""The rows of a candidate that learns on Dask: its workers read the snapshots from the bucket themselves."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

import pandas as pd

from mlops_lab.data.history import read_history
from mlops_lab.data.snapshots import Piece
from mlops_lab.errors import ModelError
from mlops_lab.history import HistoryPolicy
from mlops_lab.lab import Lab
from mlops_lab.model.lineage import provenance, provenance_of_all
from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    from mlops_lab.model.dask_cluster import Cluster
    from mlops_lab.model.dask_worker import Part
    from mlops_lab.model.training_rows import TrainingRows


def cluster(settings: Settings) -> "Cluster":
    """Where candidates on Dask learn. Processes on this machine open the bucket of these settings."""
    from mlops_lab.model.dask_cluster import Cluster

    key = settings.dask_key
    return Cluster(
        address=settings.dask_scheduler,
        key=key.get_secret_value() if key else None,
        seconds=settings.dask_timeout,
        processes=settings.dask_processes,
        environ={"LAB_HOME": str(settings.home.resolve()), "LAB_ARTIFACTS_URL": settings.artifacts},
    )


@contextmanager
def rows_on_dask(
    lab: Lab,
    use_case: UseCase,
    progress: Callable[[str], None],
    *,
    until: int | None = None,
    only: Collection[int] | None = None,
) -> Iterator["TrainingRows"]:
    """The rows for the time of the block; until, only: as in `Snapshots.read`. Raises `ModelError` as `spread_rows`.

    Of a bounded history this process reads the rows and sends them: they are few, and chosen over all snapshots.
    """
    from mlops_lab.model.dask_training import FrameSource, spread_rows
    from mlops_lab.model.training_rows import TrainingRows

    if use_case.history == HistoryPolicy():
        source = SnapshotSource(lab, use_case, until, only)
        read = provenance_of_all(use_case, lab.snapshots.frames(use_case, until=until, only=only))
    else:
        found = read_history(lab.snapshots, use_case, until=until, only=only)
        source, read = FrameSource(found.frame), provenance(use_case, found)
    with spread_rows(use_case, source, cluster(lab.settings), progress) as rows:
        yield TrainingRows(rows, read)


@dataclass(frozen=True)
class SnapshotSource:
    """All stored rows, of the snapshots."""

    lab: Lab
    use_case: UseCase
    until: int | None
    only: Collection[int] | None

    def column(self, name: str) -> pd.Series:
        return self._read("train", [name])[name]

    def rows(self, split: str) -> pd.DataFrame:
        return self._read(split, None)

    def parts(self) -> Sequence["Part"]:
        pieces = self.lab.snapshots.pieces(self.use_case, until=self.until, only=self.only)
        return [SnapshotPart(piece) for piece in pieces]

    def _read(self, split: str, columns: list[str] | None) -> pd.DataFrame:
        read = self.lab.snapshots.read
        return read(self.use_case, split=split, until=self.until, only=self.only, columns=columns)


@dataclass(frozen=True)
class SnapshotPart:
    """Some rows of a snapshot, which a worker reads with the settings of its own environment."""

    piece: Piece

    @property
    def rows(self) -> int:
        return self.piece.rows

    def __call__(self) -> pd.DataFrame:
        return self.piece.frame(_content(self.piece.path, self.piece.digest))


@lru_cache(maxsize=1)
def _content(path: str, digest: str) -> bytes:
    """The bytes of a snapshot; the parts of one follow each other. Raises `ModelError` when they are other ones."""
    content = Lab(Settings()).artifacts.get(path)
    if sha256(content).hexdigest() != digest:
        raise ModelError(f"the snapshot {path} was changed while a Dask worker read it; train again")
    return content
