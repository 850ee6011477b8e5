"""What parts of the service cost: counting, and FastAPI's own routes in place of Starlette's.

The cost of counting is less than the difference between two starts of one server, so it is measured inside the service.
"""

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from measure import Ask, in_turns, reply
from peers import lab_process

from mlops_lab.local.processes import Supervisor, free_ports

ROUNDS = 7
_ROUTES = """
import inference.app
from fastapi.routing import APIRoute
from inference.__main__ import main
inference.app.Route = APIRoute
main()
"""
_TIMED = """
from time import thread_time_ns
from inference.__main__ import main
from inference.metrics import Metrics
from mlops_lab.model.drift import DriftCounter
spent = {"metrics": 0, "drift": 0}
def timed(name, method):
    def call(*arguments):
        began = thread_time_ns()
        method(*arguments)
        spent[name] += thread_time_ns() - began
    return call
Metrics.answered = timed("metrics", Metrics.answered)
DriftCounter.add = timed("drift", DriftCounter.add)
Metrics.text = lambda self: f"{spent['metrics']} {spent['drift']}".encode()
main()
"""


@dataclass(frozen=True)
class Parts:
    """metrics, drift: microseconds of CPU a request. routes: the CPU time with FastAPI's routes, of that as shipped."""

    metrics: float
    drift: float
    routes: float


def parts(home: Path, supervisor: Supervisor, ask: Ask) -> Parts:
    """ask: one row for the service as shipped, which runs."""
    variants = []
    for name, code in (("routes", _ROUTES), ("timed", _TIMED)):
        process = lab_process(name, home, free_ports(1)[0], code)
        pid = supervisor.start(process).pid
        supervisor.wait(process)
        variants.append(replace(ask, server=name, pid=pid, url=process.url))
    routes, timed = variants
    shipped, other = in_turns([ask, routes], ROUNDS)
    counts = replace(timed, method="GET", path="/metrics", body=None, headers={})
    before = _spent(counts)
    in_turns([timed], ROUNDS)
    total = (ROUNDS + 1) * (timed.requests + 1)
    metrics, drift = ((after - b) / total / 1000 for after, b in zip(_spent(counts), before, strict=True))
    ratios = [o / s for o, s in zip(other.cpu, shipped.cpu, strict=True)]
    return Parts(metrics, drift, statistics.median(ratios))


def _spent(ask: Ask) -> list[int]:
    """Nanoseconds of CPU that the timed service has spent on (metrics, drift)."""
    return [int(number) for number in reply(ask).split()]
