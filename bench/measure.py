"""Measures servers: the CPU time of a server's processes and the time to the reply, in rounds that take turns."""

import http.client
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil


@dataclass(frozen=True)
class Ask:
    """One request, sent again and again to one server.

    prepare: brings the server into the state that is measured.
    settle: waits until the server has also done the work that it put off; None when it puts nothing off.
    """

    server: str
    pid: int
    url: str
    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]
    requests: int
    settle: Callable[[], None] | None = None
    prepare: Callable[[], None] | None = None


@dataclass
class Cost:
    """Microseconds a request, one figure a round. lapse: the median time to the reply of that round."""

    cpu: list[float] = field(default_factory=list)
    lapse: list[float] = field(default_factory=list)

    @property
    def median_cpu(self) -> float:
        return statistics.median(self.cpu)

    @property
    def median_lapse(self) -> float:
        return statistics.median(self.lapse)

    @property
    def spread(self) -> float:
        """Half of the range of the CPU time, as a fraction of its median."""
        # The system counts CPU time in steps of 10 ms.
        return (max(self.cpu) - min(self.cpu)) / 2 / self.median_cpu if self.median_cpu else 0.0


def in_turns(asks: list[Ask], rounds: int) -> list[Cost]:
    """The cost of each ask. A first round warms up and isn't counted."""
    costs = [Cost() for _ in asks]
    for number in range(rounds + 1):
        for ask, cost in zip(asks, costs, strict=True):
            cpu, lapse = _measure(ask)
            if number:
                cost.cpu.append(cpu)
                cost.lapse.append(lapse)
    return costs


def reply(ask: Ask) -> bytes:
    """The body of one reply. Raises `OSError` when it isn't 200."""
    connection = connect(ask)
    try:
        return send(connection, ask)
    finally:
        connection.close()


def _measure(ask: Ask) -> tuple[float, float]:
    if ask.prepare:
        ask.prepare()
    connection = connect(ask)
    send(connection, ask)
    if ask.settle:
        ask.settle()
    before, lapses = _cpu(ask.pid), []
    for _ in range(ask.requests):
        sent = time.perf_counter()
        send(connection, ask)
        lapses.append(time.perf_counter() - sent)
    connection.close()
    if ask.settle:
        ask.settle()
    return (_cpu(ask.pid) - before) / ask.requests * 1e6, statistics.median(lapses) * 1e6


def connect(ask: Ask) -> http.client.HTTPConnection:
    """A connection to the ask's server."""
    address = urlsplit(ask.url)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)


def send(connection: http.client.HTTPConnection, ask: Ask) -> bytes:
    """Sends the request; the body of the reply. Raises `OSError` when it isn't 200."""
    connection.request(ask.method, ask.path, ask.body, ask.headers)
    found = connection.getresponse()
    body = found.read()
    if found.status != 200:
        raise OSError(f"{ask.server} answers {found.status} to {ask.path}: {body[:200]!r}")
    return body


def _cpu(pid: int) -> float:
    """Seconds of CPU of a process and of all that it has started."""
    parent = psutil.Process(pid)
    times = [process.cpu_times() for process in (parent, *parent.children(recursive=True))]
    return sum(used.user + used.system for used in times)
