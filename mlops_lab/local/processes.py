"""Processes of the embedded lab: each service in a process group of its own, started, watched and ended together."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from mlops_lab.errors import LabError

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 10.0  # seconds between the polite signal and the other one


class ServiceError(LabError):
    """A service can't start, or ended by itself."""


@dataclass(frozen=True)
class Service:
    """What to run and how to know that it works.

    port:   (number, the variable that moves it), or None for a process that listens nowhere.
    health: URL that answers 200 when the service works.
    """

    name: str
    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    port: tuple[int, str] | None = None
    health: str | None = None


class Services:
    """The running services of one lab. Used as a context: at its end none of their processes is left."""

    def __init__(self, logs: Path, bind: str = "127.0.0.1"):
        self._logs = logs
        self._bind = bind
        self._running: dict[str, tuple[Service, subprocess.Popen]] = {}

    def __enter__(self) -> "Services":
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_exception) -> None:
        # A second Ctrl-C must not cut the clean-up short: it is bounded in time anyway.
        before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPS}
        try:
            self.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check_ports(self, services: list[Service]) -> None:
        """Raises `ServiceError` naming the first port that something else listens on."""
        for service in services:
            if service.port is None:
                continue
            number, variable = service.port
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self._bind, number))
                except OSError:
                    raise ServiceError(
                        f"port {number} ({service.name}) is taken; stop what listens there or set {variable}"
                    ) from None

    def start(self, service: Service) -> None:
        with self._log(service.name).open("ab") as log, _uninterrupted():
            process = subprocess.Popen(
                service.command,
                env=os.environ | service.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running[service.name] = (service, process)

    def run(self, service: Service, timeout: float = 300) -> None:
        """Runs a one-shot to its end. Raises `ServiceError` when it fails."""
        self.start(service)
        try:
            status = self._running[service.name][1].wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServiceError(
                f"{service.name} took over {timeout:g} s; see {self._log(service.name)}"
            ) from None
        del self._running[service.name]
        if status != 0:
            raise ServiceError(f"{service.name} ended with status {status}; see {self._log(service.name)}")

    def check(self) -> None:
        """Raises `ServiceError` when a service has ended by itself."""
        for name, (_, process) in self._running.items():
            if (status := process.poll()) is not None:
                raise ServiceError(f"{name} ended with status {status}; see {self._log(name)}")

    def healthy(self, service: Service) -> bool:
        """Whether the service answers now."""
        try:
            return httpx.get(service.health, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def wait(self, service: Service, timeout: float = 240) -> None:
        """Until the service works. Raises `ServiceError` when it ends or time is up."""
        deadline = time.monotonic() + timeout
        while not self.healthy(service):
            self.check()
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{service.name} isn't healthy after {timeout:g} s; see {self._log(service.name)}"
                )
            time.sleep(0.3)

    def stop(self) -> None:
        """Ends every process of every service, children that left their group included."""
        processes: dict[int, psutil.Process] = {}
        for _, process in self._running.values():
            for found in _family(process.pid):
                processes[found.pid] = found
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for _, process in self._running.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        for _, process in self._running.values():
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        for left in processes.values():
            try:
                left.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(list(processes.values()), timeout=5)
        self._running.clear()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.lower().replace(' ', '-')}.log"


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on now, each another one."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block like Ctrl-C does, so that its clean-up runs; a second one changes nothing."""

    def interrupt(*_):
        for number in STOPS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOPS}
    yield  # after an interrupt the process ends, and what is sent meanwhile stays ignored
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A stop waits until the process that is being started is on the list of those to end."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        os.kill(os.getpid(), came[0])


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
