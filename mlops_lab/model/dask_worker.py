"""What runs in a worker of a Dask cluster: it reads its parts of the rows, keeps them encoded, and learns from them.

The workers learn together by LightGBM's own protocol (https://lightgbm.readthedocs.io/en/stable/Parallel-Learning-Guide.html,
tree_learner=data): each grows the same trees and sends the others the histograms of its rows, never a row.
"""

import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.data.split import LEARNT
from mlops_lab.errors import first_line
from mlops_lab.model.encoding import encode_frame


class Part(Protocol):
    """Some of a training's rows, which are read where it is called: in a worker."""

    @property
    def rows(self) -> int:
        """About how many there are."""

    def __call__(self) -> pd.DataFrame:
        """Clean rows in the order of CleanData: features, target and `split`."""


# Minutes until a worker gives up on a message of another one. A worker that is gone is noticed in seconds; this bounds
# what only looks alive.
SILENT_MINUTES = 2
# What LightGBM's estimator is told for one training, and what no model may keep.
NETWORK = ("machines", "local_listen_port", "num_machines", "time_out", "tree_learner")


_learning = threading.Event()


class RestartedError(Exception):
    """The worker was started again since the training began, so it has no rows any more."""


class AloneError(Exception):
    """LightGBM can't reach another worker any more. The text is its own."""


@dataclass(frozen=True)
class Held:
    """The rows of one worker: first those of the training split, then those of the validation split.

    x: encoded, float32 (n, features). y: ground truth, float64 (n,). trained: the number of the former.
    """

    x: np.ndarray
    y: np.ndarray
    trained: int

    def __sizeof__(self) -> int:
        return self.x.nbytes + self.y.nbytes

    def rows(self, whole: bool) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of both splits, or of the training split."""
        last = len(self.y) if whole else self.trained
        return self.x[:last], self.y[:last]


@dataclass(frozen=True)
class Network:
    """One worker's place in a training: its number in `machines` is its rank, by which LightGBM divides the work."""

    machines: Sequence[str]
    port: int

    def params(self) -> dict[str, Any]:
        """LightGBM's parameters; none for a worker alone."""
        if len(self.machines) == 1:
            return {}
        values = (",".join(self.machines), self.port, len(self.machines), SILENT_MINUTES, "data")
        return dict(zip(NETWORK, values, strict=True))


def state(dask_worker: Any) -> tuple[str, bool]:
    """(the name of the worker's process, whether it learns now). One that is started again has another name."""
    return dask_worker.id, _learning.is_set()


def load(worker: str, parts: Sequence[Part], *, contract: Contract, target: str) -> Held:
    """Reads and encodes the parts. Raises `RestartedError`, and what a part raises."""
    _check(worker)
    matrices: dict[str, list[np.ndarray]] = {split: [] for split in LEARNT}
    truths: dict[str, list[np.ndarray]] = {split: [] for split in LEARNT}
    for part in parts:
        frame = part()
        for split in LEARNT:
            at = np.flatnonzero(frame["split"] == split)
            matrices[split].append(encode_frame(contract, frame, at))
            truths[split].append(contract.encode_target(frame[target])[at])
    x, y = (
        np.concatenate([array for split in LEARNT for array in arrays[split]])
        for arrays in (matrices, truths)
    )
    return Held(x, y, sum(len(array) for array in truths["train"]))


def truth(held: Held) -> tuple[np.ndarray, np.ndarray]:
    """(ground truth of the training rows, the values that occur in training and validation rows)."""
    return held.rows(whole=False)[1], np.unique(held.y)


def column(held: Held, index: int) -> np.ndarray:
    """One encoded column of the training rows."""
    return held.x[: held.trained, index]


def some(held: Held, positions: np.ndarray) -> np.ndarray:
    """Encoded training rows by their positions in this worker."""
    return held.x[positions]


def output(held: Held, fitted: Any) -> np.ndarray:
    """What a fitted candidate gives for the training rows."""
    return fitted.output(held.rows(whole=False)[0])


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]


def learn(
    worker: str,
    held: Held,
    network: Network,
    *,
    estimator: Any,
    log: bool,
    whole: bool,
    classes: np.ndarray | None,
) -> Any:
    """The fitted LightGBM estimator, by this worker together with the others; all of them get the same one.

    log:     the target is log(1 + y).
    classes: those that occur in any worker's rows, when not all workers have them all.
    Raises `RestartedError` and `AloneError`.
    """
    import lightgbm
    from distributed import get_worker

    _check(worker)
    x, y = held.rows(whole)
    y = np.log1p(y) if log else y
    weights = None
    if classes is not None:
        # LightGBM numbers the classes that a worker sees, and all must number alike. A row without weight shows it one.
        absent = np.setdiff1d(classes, y)
        weights = np.concatenate([np.ones(len(y)), np.zeros(len(absent))])
        x, y = np.concatenate([x, np.repeat(x[:1], len(absent), axis=0)]), np.concatenate([y, absent])
    estimator.set_params(n_jobs=get_worker().state.nthreads, **network.params())
    _learning.set()
    try:
        with _silenced():
            estimator.fit(x, y, sample_weight=weights)
    except Exception as error:
        if network.params() and re.search("socket|connect", str(error), re.IGNORECASE):
            raise AloneError(first_line(error)) from None
        raise
    finally:
        # The connections belong to the process: the next training would use them. `free_network` takes a model.
        lightgbm.basic._LIB.LGBM_NetworkFree()
        _learning.clear()
    # `set_params` can't take a parameter away; lightgbm.dask does the same.
    for name in NETWORK:
        estimator._other_params.pop(name, None)
        estimator.__dict__.pop(name, None)
    return estimator


def _check(worker: str) -> None:
    from distributed import get_worker

    if get_worker().id != worker:
        raise RestartedError


@contextmanager
def _silenced() -> Iterator[None]:
    """Nothing reaches this process's standard output, which is that of the training process on the same machine.

    LightGBM's threads print their connections there; what goes wrong with them is raised.
    """
    sys.stdout.flush()
    before, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
        os.close(nowhere)
