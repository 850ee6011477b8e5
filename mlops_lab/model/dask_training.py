"""The rows of a training on Dask: the training rows on the workers; the others, and all targets, here.

This process reads the training rows only for the contract, one column at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mlops_lab.data.rows import texts
from mlops_lab.data.split import SPLITS
from mlops_lab.model.dask_cluster import Cluster
from mlops_lab.model.dask_rows import DaskRows
from mlops_lab.model.dask_worker import Part
from mlops_lab.model.encoded_rows import EncodedRows, group_numbers, refuse_one_value, refuse_too_few
from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.fit_contract import describe, fit_contract
from mlops_lab.use_case import UseCase

# Pieces of a frame, for a training whose rows are in this process anyway.
PIECES = 12


class Source(Protocol):
    """Clean rows that are read a column, a split or a part at a time, always in the same order."""

    def column(self, name: str) -> pd.Series:
        """A feature or the target of the training rows."""

    def rows(self, split: str) -> pd.DataFrame:
        """All columns of the validation or the test rows."""

    def parts(self) -> Sequence[Part]:
        """All rows in parts that a worker can read."""


@dataclass(frozen=True)
class SpreadRows(EncodedRows):
    """Encoded rows of which those of the training split are on Dask's workers. x has only the rows after them."""

    remote: DaskRows = field(kw_only=True, repr=False)

    @property
    def engine(self) -> dict[str, str]:
        return {"Dask workers": str(self.remote.workers)}

    @property
    def learnt(self) -> Any:
        return self.remote.whole(), self.y[: len(self.y) - self.sizes["test"]]

    @property
    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        return self.x, self.y[self.sizes["train"] :]

    def parts(self, whole: np.ndarray) -> Any:
        if whole is not self.x:
            return super().parts(whole)
        validation, test = np.split(whole, [self.sizes["validation"]])
        return {"train": self.remote, "validation": validation, "test": test}


@dataclass(frozen=True)
class FramePart:
    """Rows that are sent to the worker."""

    frame: pd.DataFrame = field(repr=False)

    @property
    def rows(self) -> int:
        return len(self.frame)

    def __call__(self) -> pd.DataFrame:
        return self.frame


@dataclass(frozen=True)
class FrameSource:
    """Rows of CleanData in this process."""

    frame: pd.DataFrame = field(repr=False)

    def column(self, name: str) -> pd.Series:
        return self.frame.loc[self.frame["split"] == "train", name]

    def rows(self, split: str) -> pd.DataFrame:
        return self.frame[self.frame["split"] == split]

    def parts(self) -> Sequence[Part]:
        bounds = np.linspace(0, len(self.frame), PIECES + 1).astype(int)
        return [FramePart(self.frame.iloc[a:b]) for a, b in pairwise(bounds) if a < b]


@contextmanager
def spread_rows(
    use_case: UseCase, source: Source, cluster: Cluster, progress: Callable[[str], None], seed: int = 0
) -> Iterator[SpreadRows]:
    """The rows for the time of the block; then the workers forget them.

    Raises `ModelError` as `encode_rows` does, and when the cluster can't be used.
    """
    target = use_case.target.name
    unseen = {split: source.rows(split) for split in SPLITS[1:]}
    training = _Columns(source, target)
    sizes = {"train": len(training)} | {split: len(frame) for split, frame in unseen.items()}
    refuse_too_few(use_case, sizes)
    contract = fit_contract(use_case, training)
    truths = [contract.encode_target(frame[target]) for frame in unseen.values()]
    with cluster.open(progress) as session:
        remote = DaskRows(session, contract, target, source.parts())
        refuse_one_value(use_case, remote.truth)
        yield SpreadRows(
            contract=describe(contract, remote, remote.truth, seed),
            x=np.concatenate([encode_frame(contract, frame) for frame in unseen.values()]),
            y=np.concatenate([remote.truth, *truths]),
            sizes=sizes,
            groups={split: group_numbers(frame, np.arange(len(frame))) for split, frame in unseen.items()},
            slices={name: texts(unseen["test"][name]) for name in use_case.promotion.slices},
            seed=seed,
            remote=remote,
        )


class _Columns:
    """What `fit_contract` reads of a frame, a column at a time."""

    def __init__(self, source: Source, target: str) -> None:
        self._source, self._rows = source, len(source.column(target))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> pd.Series:
        return self._source.column(name)
