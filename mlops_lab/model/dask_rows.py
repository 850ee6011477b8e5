"""The training rows of a candidate that learns on Dask: they are encoded on the workers, and none is in this process.

To training they look like its encoded matrix: it reads a column or some rows, and learns from all of them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlops_lab.contract import Contract
from mlops_lab.errors import ModelError
from mlops_lab.model import dask_worker
from mlops_lab.model.dask_cluster import LostError, Session
from mlops_lab.model.dask_worker import Network, Part


class Remote:
    """Rows on other machines, which an estimator learns from there."""

    def learn(self, pipeline: Any, log: bool) -> Any:
        """The fitted pipeline; log: the target is log(1 + y). Raises `ModelError`."""
        raise NotImplementedError


class DaskRows(Remote):
    """The training rows in the order of the parts: `len(rows)`, `rows[:, column]` and `rows[positions]` give arrays.

    The workers also have the validation rows, for the last fit.

    contract: has the vocabularies; the workers encode by it.
    target:   the name of the target's column.
    parts:    at least one; each is read by one worker.
    """

    def __init__(self, session: Session, contract: Contract, target: str, parts: Sequence[Part]) -> None:
        self._session, self._contract, self._target, self._parts = session, contract, target, parts
        self._held: list[Any] = []
        self._classes: list[np.ndarray] = []
        self._truths: list[np.ndarray] = []
        self._try(self._read)

    @property
    def workers(self) -> int:
        """How many workers have the rows."""
        return len(self._held)

    @property
    def truth(self) -> np.ndarray:
        """The ground truth of the training rows, float64 (n,)."""
        return np.concatenate(self._truths)

    @property
    def shape(self) -> tuple[int, int]:
        return sum(map(len, self._truths)), len(self._contract.features)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, wanted: Any) -> np.ndarray:
        if isinstance(wanted, tuple):
            return self._joined(dask_worker.column, index=wanted[1])
        return self._try(lambda: self._rows(wanted))

    def output(self, fitted: Any) -> np.ndarray:
        """What a fitted candidate gives for the training rows: float64 (n,) or (n, classes)."""
        return self._joined(dask_worker.output, fitted=fitted)

    def learn(self, pipeline: Any, log: bool) -> Any:
        return self.fit(pipeline, log, whole=False)

    def whole(self) -> Remote:
        """The training rows with the validation rows."""
        return _Whole(self)

    def fit(self, pipeline: Any, log: bool, *, whole: bool) -> Any:
        """The pipeline with its estimator, fitted by all workers together on the training rows, or on all they have.

        Raises `ModelError`, also when workers went away and the others couldn't end it either.
        """
        name, estimator = pipeline.steps[-1]
        fitted = self._try(lambda: self._fit(estimator, log, whole))
        # The steps before only order the columns. The trees know a column by its place in the contract instead.
        return type(pipeline)([(name, fitted)])

    def _read(self) -> None:
        session = self._session
        groups = _groups(self._parts, session.join())
        session.use(len(groups))
        names = list(session.workers.values())
        self._held = session.start(
            dask_worker.load, names, groups, contract=self._contract, target=self._target
        )
        told = session.each(dask_worker.truth, self._held)
        self._truths, self._classes = [y for y, _ in told], [both for _, both in told]
        counts = ", ".join(f"{len(own):,}" for own in self._truths)
        session.progress(f"{len(names)} Dask workers have {counts} training rows")

    def _fit(self, estimator: Any, log: bool, whole: bool) -> Any:
        session = self._session
        ports = session.each(dask_worker.free_port)
        machines = [f"{host}:{port}" for host, port in zip(session.hosts, ports, strict=True)]
        own = self._classes if whole else [np.unique(y) for y in self._truths]
        classes = np.unique(np.concatenate(own))
        uneven = self._contract.task != "regression" and any(len(one) < len(classes) for one in own)
        with session.alone():
            found = session.each(
                dask_worker.learn,
                list(session.workers.values()),
                self._held,
                [Network(machines, port) for port in ports],
                estimator=estimator,
                log=log,
                whole=whole,
                classes=classes if uneven else None,
            )
        return found[0]

    def _rows(self, positions: np.ndarray) -> np.ndarray:
        ends = np.cumsum([len(own) for own in self._truths])
        owner = np.searchsorted(ends, positions, side="right")
        own = [positions[owner == at] - (ends[at - 1] if at else 0) for at in range(len(ends))]
        return np.concatenate(self._session.each(dask_worker.some, self._held, own))

    def _joined(self, function: Callable[..., np.ndarray], **same: Any) -> np.ndarray:
        return np.concatenate(self._try(lambda: self._session.each(function, self._held, **same)))

    def _try(self, work: Callable[[], Any]) -> Any:
        """What the work returns. When a worker goes away, all rows are read again and it begins again, once."""
        try:
            return work()
        except LostError as error:
            self._session.progress(f"{error}: the others begin again")
        try:
            if work != self._read:
                self._read()
            return work()
        except LostError as error:
            raise ModelError(f"{error}, for the second time") from error


def _groups(parts: Sequence[Part], workers: int) -> list[list[Part]]:
    """The parts in their order, in at most so many groups of nearly as many rows. No group is empty."""
    sizes = np.array([max(part.rows, 1) for part in parts])
    middles = np.cumsum(sizes) - sizes / 2
    owners = (middles / sizes.sum() * workers).astype(int)
    return [[parts[at] for at in np.flatnonzero(owners == owner)] for owner in np.unique(owners)]


class _Whole(Remote):
    def __init__(self, rows: DaskRows) -> None:
        self._rows = rows

    def learn(self, pipeline: Any, log: bool) -> Any:
        return self._rows.fit(pipeline, log, whole=True)
