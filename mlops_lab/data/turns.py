"""One loop at a time works on a use case: a lock file, which the kernel releases when its process ends in any way."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_lab.errors import ServiceError


class BusyError(ServiceError):
    """Another process works on the use case."""


class Turns:
    """folder: holds a folder for each use case; processes that share the data must share it."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._held: set[str] = set()

    @contextmanager
    def hold(self, use_case: str, shared: bool = False) -> Iterator[None]:
        """The use case for this process alone; shared: for the tasks of one DAG run, of which some run at once.

        Holding it twice does no harm. Raises `BusyError` at once when another process holds it.
        """
        if use_case in self._held:
            yield
            return
        folder = self._folder / use_case
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "turn.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise BusyError(
                    f"another process ({lock.read().strip() or 'unknown'}) works on {use_case}; "
                    "wait for its end or stop it, then run again"
                ) from None
            lock.truncate(0)
            lock.write(f"{'Airflow, ' if shared else ''}pid {os.getpid()}\n")
            lock.flush()
            self._held.add(use_case)
            try:
                yield
            finally:
                self._held.discard(use_case)
