"""Probes that run beside the page: each in a thread of its own, their results shared by every open tab."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import NamedTuple

from mlops_lab.errors import LabError


class State(NamedTuple):
    """What a service says of itself.

    good: None where nobody knows. text: one line. version: empty where it doesn't say one. started: UNIX time of its
    start, None where it doesn't say. others: what it says of services that the page has no way to, by name.
    """

    good: bool | None
    text: str
    version: str = ""
    started: float | None = None
    others: Mapping[str, "State"] = {}


WAITING = State(None, "no answer yet")


class Probes:
    """Asks each service once in `apart` seconds at most. A service that hangs holds nobody for longer than `patience`.

    probes: by name; each returns a state or raises `LabError`, and ends by itself within seconds.
    """

    def __init__(self, probes: Mapping[str, Callable[[], State]], apart: float, patience: float):
        self._probes, self._apart, self._patience = dict(probes), apart, patience
        self._pool = ThreadPoolExecutor(max_workers=max(1, len(self._probes)), thread_name_prefix="probe")
        self._running: dict[str, Future[State]] = {}
        self._asked: dict[str, float] = {}
        self._known: dict[str, State] = {}
        self._lock = Lock()

    def look(self) -> dict[str, State]:
        """The newest state of each service, by name. One that hasn't answered yet keeps the state before."""
        with self._lock:
            for name, probe in self._probes.items():
                if name not in self._running and self._due(name):
                    self._asked[name] = time.monotonic()
                    self._running[name] = self._pool.submit(_answer, probe)
            running = dict(self._running)
        done, _ = wait(running.values(), timeout=self._patience)
        with self._lock:
            for name, future in running.items():
                if future in done:
                    self._known[name] = future.result()
                    if self._running.get(name) is future:
                        del self._running[name]
            return {name: self._known.get(name, WAITING) for name in self._probes}

    def _due(self, name: str) -> bool:
        return time.monotonic() - self._asked.get(name, float("-inf")) >= self._apart


def _answer(probe: Callable[[], State]) -> State:
    try:
        return probe()
    except LabError as error:
        return State(False, str(error))
