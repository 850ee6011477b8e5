"""Starts processes, waits until they are healthy, and ends them with all their children."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count, islice
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from mlops_lab.errors import LabError
from mlops_lab.local.signals import handling, raise_if_stopped, uninterrupted

# Seconds between SIGTERM and SIGKILL.
GRACE = 10.0

# Of Linux's prctl: the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG = 1

# Lines of the log that a `ProcessError` carries as a note.
TAIL = 40

# Below the ports that systems give to outgoing connections (Linux from 32768), since such a connection could take a
# port between the choice and the server's start; and below the node ports of Kubernetes.
FREE_PORTS = range(20_000, 30_000)
_places = count(os.getpid() * 97)


class ProcessError(LabError):
    """A process can't start, isn't healthy in time, or ended by itself.

    The last lines of its log are attached as a note: a traceback and pytest show them, the `lab` command doesn't.
    """


@dataclass(frozen=True)
class Process:
    """A command, and how its health is checked.

    env:          variables in addition to those of the supervisor.
    url:          where it listens, as `http://host:port`; empty for a process that listens nowhere.
    health:       path below `url` that answers 200 when the process works.
    port_setting: the variable that moves its port; named when the port is taken.
    """

    name: str
    command: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    health: str = "/health"
    port_setting: str | None = None
    cwd: Path | None = None

    @property
    def port(self) -> int | None:
        return urlsplit(self.url).port if self.url else None


class Supervisor:
    """The running processes of one lab, each in a process group of its own.

    Used as a context: when the block ends, by an exception too, none of the processes is left.

    logs:        folder of the log files, one for each process; made when it is missing.
    environment: variables of every process; None: those of this process.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str] | None = None):
        self._logs = logs
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._log_starts: dict[str, int] = {}

    def __enter__(self) -> "Supervisor":
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_exception) -> None:
        # A second Ctrl-C must not cut the clean-up short: it is bounded in time anyway.
        with handling(signal.SIG_IGN):
            self.stop()

    def start(self, process: Process) -> subprocess.Popen[bytes]:
        """Starts the process and returns at once; `wait` says when it works.

        The returned handle is for signals and the exit status: a process that was ended through it has to be
        given to `stop`, or `check` reports it. Raises `ProcessError` when one of that name still runs.
        """
        running = self._running.get(process.name)
        if running is not None and running.poll() is None:
            raise ProcessError(f"{process.name} runs already")
        environment = os.environ if self._environment is None else self._environment
        path = self.log(process.name)
        with path.open("ab") as log, uninterrupted():
            self._log_starts[process.name] = path.stat().st_size
            self._running[process.name] = subprocess.Popen(
                process.command,
                env={**environment, **process.env},
                cwd=process.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_ends_with_parent(),
            )
        return self._running[process.name]

    def wait(self, process: Process, timeout: float = 240) -> None:
        """Until the process is healthy. Raises `ProcessError` when one ends or time is up."""
        deadline = time.monotonic() + timeout
        while not healthy(process):
            self.check()
            if time.monotonic() > deadline:
                raise self._error(process.name, f"isn't healthy after {timeout:g} s")
            time.sleep(0.2)

    def run(self, process: Process, timeout: float = 300) -> None:
        """Runs a process to its end. Raises `ProcessError` when it fails, another one ends, or time is up."""
        handle = self.start(process)
        deadline = time.monotonic() + timeout
        while handle.poll() is None:
            self.check(but=process.name)
            if time.monotonic() > deadline:
                raise self._error(process.name, f"took over {timeout:g} s")
            time.sleep(0.2)
        del self._running[process.name]
        if handle.returncode != 0:
            raise self._error(process.name, f"ended with status {handle.returncode}")

    def check(self, but: str = "") -> None:
        """Raises `ProcessError` when a process has ended by itself; `but`: the name of one that may.

        Raises `KeyboardInterrupt` when a signal came whose own exception was lost.
        """
        raise_if_stopped()
        for name, handle in self._running.items():
            if name != but and (status := handle.poll()) is not None:
                raise self._error(name, f"ended with status {status}")

    def stop(self, *processes: Process) -> None:
        """Ends the given processes, or all: SIGTERM, and SIGKILL after `GRACE` seconds.

        Their children end too, those that left the process group included.
        """
        names = [process.name for process in processes] or list(self._running)
        handles = [self._running[name] for name in names if name in self._running]
        families: dict[int, psutil.Process] = {}
        for handle in handles:
            families |= {member.pid: member for member in _family(handle.pid)}
            _signal_group(handle.pid, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for handle in handles:
            try:
                handle.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
        for handle in handles:
            _signal_group(handle.pid, signal.SIGKILL)
            handle.wait()
        for member in families.values():
            try:
                member.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(list(families.values()), timeout=5)
        for name in names:
            self._running.pop(name, None)

    def log(self, name: str) -> Path:
        """The file with the output of the process of that name."""
        return self._logs / f"{name.lower().replace(' ', '-')}.log"

    def _error(self, name: str, fault: str) -> ProcessError:
        with self.log(name).open("rb") as log:
            log.seek(self._log_starts[name])
            tail = log.read().decode(errors="replace").splitlines()[-TAIL:]
        error = ProcessError(f"{name} {fault}; see {self.log(name)}")
        error.add_note("\n".join(tail))
        return error


def healthy(process: Process) -> bool:
    """Whether the process answers now."""
    address = urlsplit(process.url)
    # httpx would read every trusted certificate for each request. That took 26 ms of CPU, up to five times a second.
    server = HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        server.request("GET", process.health)
        return server.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        server.close()


def check_ports(processes: list[Process]) -> None:
    """Raises `ProcessError` naming the first port that something else listens on."""
    for process in processes:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((urlsplit(process.url).hostname, process.port))
            except OSError:
                raise ProcessError(
                    f"port {process.port} ({process.name}) is taken{_holder(process.port)}; "
                    f"stop what listens there or set {process.port_setting}"
                ) from None


def without(*prefixes: str) -> dict[str, str]:
    """The variables of this process but for those with such a prefix: what a lab of its own starts from."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def free_ports(number: int) -> list[int]:
    """Different ports of this machine that nothing listens on now, for servers that start soon.

    Each process goes through `FREE_PORTS` from another place, so that two at a time don't find the same port.
    """
    ports: list[int] = []
    for place in islice(_places, len(FREE_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", FREE_PORTS[place % len(FREE_PORTS)]))
            except OSError:
                continue
            ports.append(probe.getsockname()[1])
        if len(ports) == number:
            return ports
    raise ProcessError(f"no {number} free ports from {FREE_PORTS[0]} to {FREE_PORTS[-1]}")


def _ends_with_parent() -> Callable[[], None] | None:
    """On Linux a process gets SIGTERM when the one that started it is killed; other systems have no such call."""
    # The kernel sends it when the starting thread ends, so a thread that may end before its process can't ask for it.
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM) and None


def _holder(port: int | None) -> str:
    """Who listens on the port, in words; empty when this user may not know it."""
    try:
        found = psutil.net_connections("tcp")
        pids = [c.pid for c in found if c.status == psutil.CONN_LISTEN and c.laddr[1:] == (port,) and c.pid]
        return f" by process {pids[0]} ({psutil.Process(pids[0]).name()})" if pids else ""
    except psutil.Error:
        return ""


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
