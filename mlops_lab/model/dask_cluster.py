"""A Dask cluster for one training: the one that a setting names, or two processes on this machine that end with it.

Dask runs whatever code reaches its scheduler, so every connection is by TLS with a key that only the lab has.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_lab.errors import LabError, ModelError, first_line
from mlops_lab.model import dask_worker
from mlops_lab.model.lineage import LIBRARIES

if TYPE_CHECKING:
    from distributed.security import Security

# A worker without memory left is ended, and the training fails or is tried again. Spilling its rows to disk or pausing
# it would only make the others wait.
MEMORY: dict[str, Any] = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
}
# The embedded cluster has no pages: nothing of it listens for a browser to any use.
PAGES: dict[str, Any] = {"distributed.scheduler.http.routes": [], "distributed.worker.http.routes": []}
# Seconds between two looks at a running training, and until the workers of a failed one have stopped.
LOOK, GRACE = 0.5, 5.0


class LostError(Exception):
    """A worker went away while it was needed."""


@dataclass(frozen=True)
class Cluster:
    """Where a candidate on Dask learns.

    address:   of a scheduler, `tls://host:8786`; None: worker processes on this machine, for one training.
    key:       PEM text with certificate and private key, the same for scheduler, workers and client.
    seconds:   until a worker must have joined.
    processes: of the cluster on this machine.
    environ:   further variables of these processes.
    """

    address: str | None = None
    key: str | None = None
    seconds: float = 60.0
    processes: int = 2
    environ: Mapping[str, str] = field(default_factory=dict)

    @contextmanager
    def open(self, progress: Callable[[str], None]) -> Iterator["Session"]:
        """A connection, which is closed, with the processes on this machine, when the block ends in any way.

        Raises `ModelError` when dask isn't installed, nothing answers, no worker joins, or a worker has other versions.
        """
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError as error:
            raise ModelError("it learns on Dask, which isn't installed: the extra `dask` has it") from error
        if self.address:
            if not self.key:
                raise ModelError(f"the Dask cluster at {self.address} needs its key: LAB_DASK_KEY isn't set")
            try:
                client = Client(
                    self.address, timeout=self.seconds, security=security(self.key), set_as_default=False
                )
            except (OSError, TimeoutError, ValueError) as error:
                raise ModelError(
                    f"the Dask scheduler at {self.address} doesn't answer: {first_line(error)}"
                ) from error
            with client:
                yield Session(client, self.seconds, progress, f"the scheduler at {self.address}")
            return
        with (
            dask.config.set(MEMORY | PAGES),
            LocalCluster(
                n_workers=self.processes,
                threads_per_worker=1,
                host="127.0.0.1",
                security=True,  # a key of its own, in memory
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                silence_logs=50,
                env=dict(self.environ),
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield Session(client, self.seconds, progress, "the cluster on this machine")


class Session:
    """The workers that one training has. Their order gives each its part of the rows and its rank.

    workers: by address, the name of each process.
    """

    def __init__(self, client: Any, seconds: float, progress: Callable[[str], None], where: str) -> None:
        self.progress, self.workers = progress, dict[str, str]()
        self._client, self._seconds, self._where = client, seconds, where

    @property
    def hosts(self) -> list[str]:
        """The workers' machines."""
        return [address.rpartition("://")[2].rpartition(":")[0] for address in self.workers]

    def join(self) -> int:
        """Takes the workers that are there, at least one; returns their number. Raises `ModelError` and `LostError`.

        Again after a fault, it leaves out those that are still in the training before, where LightGBM may wait for
        the worker that went away.
        """
        late, ended = time.monotonic() + self._seconds, time.monotonic() + min(GRACE, self._seconds)
        with self._told():
            while True:
                with suppress(TimeoutError):
                    self._client.wait_for_workers(1, timeout=LOOK)
                answers = self._client.run(dask_worker.state, on_error="return")
                found = {at: one for at, one in answers.items() if isinstance(one, tuple)}
                stuck = {at for at, (_, learns) in found.items() if learns and at in self.workers}
                if len(found) > len(stuck) and (not stuck or time.monotonic() > ended):
                    break
                if answers and not found:
                    raise LostError(f"no Dask worker answers ({first_line(next(iter(answers.values())))})")
                if time.monotonic() > late:
                    raise ModelError(f"no Dask worker joined {self._where} within {self._seconds:g} s")
            self._same_versions()
        self.workers = {at: name for at, (name, _) in sorted(found.items()) if at not in stuck}
        return len(self.workers)

    def use(self, most: int) -> None:
        """Leaves out the workers beyond so many."""
        self.workers = dict(list(self.workers.items())[:most])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One training at a time: two that each wait for a worker that the other one has would wait for ever."""
        from distributed import Lock

        with self._told():
            lock = Lock("mlops-lab-learns")
            if not lock.acquire(blocking=False):
                self.progress("waits for another training on these workers")
                lock.acquire()
        try:
            yield
        finally:
            with suppress(Exception):  # it also ends with the connection
                lock.release()

    def start(self, function: Callable[..., Any], *arguments: Sequence[Any], **same: Any) -> list[Any]:
        """Calls the function in each worker; `arguments` has a value for each. The results stay there: futures."""
        with self._told():
            return [
                self._client.submit(
                    function, *values, **same, workers=[worker], allow_other_workers=False, pure=False
                )
                for worker, values in zip(self.workers, self._by_worker(arguments), strict=True)
            ]

    def each(self, function: Callable[..., Any], *arguments: Sequence[Any], **same: Any) -> list[Any]:
        """The same, and the results. Raises `LostError` when a worker goes away, and what the function raises."""
        futures = self.start(function, *arguments, **same)
        with self._told():
            self._wait(futures)
            return self._client.gather(futures)

    def _by_worker(self, arguments: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        return list(zip(*arguments, strict=True)) if arguments else [()] * len(self.workers)

    def _wait(self, futures: Sequence[Any]) -> None:
        from distributed import wait

        done = False
        while not done:
            with suppress(TimeoutError):
                wait(futures, timeout=LOOK)
                done = True
            there = self._client.scheduler_info(n_workers=-1)["workers"]
            if gone := [worker for worker in self.workers if worker not in there]:
                raise LostError(f"{len(gone)} of {len(self.workers)} Dask workers went away")
            for future in futures:
                if future.status in ("error", "lost", "cancelled"):
                    future.result(timeout=self._seconds)

    def _same_versions(self) -> None:
        found = self._client.get_versions(packages=list(LIBRARIES))
        here = _versions(found["client"])
        for worker, its in sorted(found["workers"].items()):
            if other := [
                f"{name} {_versions(its).get(name)}, not {here[name]}"
                for name in here
                if _versions(its).get(name) != here[name]
            ]:
                raise ModelError(
                    f"the Dask worker {worker} has {'; '.join(other)}: use the same image for both"
                )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the connection and of other people's code become one line."""
        from distributed import CancelledError, KilledWorker

        try:
            with self._client.as_current():
                yield
        except dask_worker.RestartedError:
            raise LostError("a Dask worker was started again") from None
        except dask_worker.AloneError as error:
            raise LostError(f"a Dask worker went away ({error})") from None
        except KilledWorker:
            raise LostError("a Dask worker ended each time that it was given its rows") from None
        except (LabError, LostError):
            raise
        except (OSError, TimeoutError, CancelledError) as error:
            raise ModelError(
                f"the connection to {self._where} broke: {first_line(error, with_class=True)}"
            ) from error


def _versions(side: Mapping[str, Any]) -> dict[str, str]:
    python = side["host"]["python"].split(".final")[0]
    known = {name: value for name, value in side["packages"].items() if value and name != "python"}
    return {"python": python, **known}


def security(key: str) -> "Security":
    """Of a connection whose two ends have this PEM text, certificate and key."""
    from distributed.security import Security

    return Security(require_encryption=True, tls_ca_file=key, tls_client_cert=key, tls_client_key=key)
