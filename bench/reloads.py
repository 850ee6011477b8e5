"""What callers see while the champion changes, and the memory of the service with three models."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
from measure import Ask, connect, send
from model import NAMES, registry

from mlops_lab.model.registry import CHAMPION

MOVES, CALLERS = 30, 2
# Seconds of calls without a change, and those that a change may take.
STILL, PATIENCE = 10.0, 60


@dataclass(frozen=True)
class Reloads:
    """still, moving: milliseconds to each reply, without a change and while champions change.

    failed:    requests without a reply of status 200 meanwhile.
    mebibytes: of memory that the service's processes have for themselves.
    """

    still: list[float]
    moving: list[float]
    failed: int
    mebibytes: float
    moves: int = MOVES
    callers: int = CALLERS


@dataclass
class _Calls:
    """What the callers saw since the last `take`."""

    lapses: list[float] = field(default_factory=list)
    failed: int = 0
    version: int = 0

    def take(self) -> list[float]:
        taken, self.lapses = self.lapses, []
        return taken


def reloads(home: Path, ask: Ask) -> Reloads:
    """Moves the champion of the first use case between its two versions, each time as soon as it is served.

    ask: one row for the service. home: the folder of `publish`.
    """
    calls, stop = _Calls(), threading.Event()
    callers = [threading.Thread(target=_call, args=(ask, calls, stop)) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    try:
        time.sleep(STILL)
        still = calls.take()
        for number in range(MOVES):
            version = 1 + number % 2
            registry(home).set_alias(NAMES[0], CHAMPION, version)
            _wait(calls, version)
        moving = calls.take()
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    service = psutil.Process(ask.pid)
    # Without the libraries' files, which the kernel shares and gives back.
    held = sum(process.memory_full_info().uss for process in (service, *service.children(recursive=True)))
    return Reloads(still, moving, calls.failed, held / 2**20)


def _wait(calls: _Calls, version: int) -> None:
    end = time.monotonic() + PATIENCE
    while calls.version != version:
        if time.monotonic() > end:
            raise SystemExit(f"version {version} isn't served after {PATIENCE} s")
        time.sleep(0.01)


def _call(ask: Ask, calls: _Calls, stop: threading.Event) -> None:
    connection = connect(ask)
    while not stop.is_set():
        began = time.perf_counter()
        try:
            calls.version = orjson.loads(send(connection, ask))["model"]["version"]
        except OSError:
            calls.failed += 1
        calls.lapses.append((time.perf_counter() - began) * 1000)
    connection.close()
