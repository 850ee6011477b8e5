"""What counting and logging cost, measured inside of the service: two starts of one server differ by more."""

from dataclasses import dataclass, replace
from pathlib import Path

from measure import Ask, in_turns, reply
from peers import lab_process

from mlops_lab.local.processes import Supervisor, free_ports

_TIMED = """
from time import thread_time_ns
from inference.__main__ import main
from inference.metrics import Metrics
from inference.prediction_log import PredictionLog
from mlops_lab.model.drift import DriftCounter
spent = {"metrics": 0, "drift": 0, "log": 0}
def timed(name, method):
    def call(*arguments):
        began = thread_time_ns()
        method(*arguments)
        spent[name] += thread_time_ns() - began
    return call
Metrics.answered = timed("metrics", Metrics.answered)
DriftCounter.add = timed("drift", DriftCounter.add)
PredictionLog.flush = timed("log", PredictionLog.flush)
PredictionLog._move_segment = timed("log", PredictionLog._move_segment)
Metrics.text = lambda self: " ".join(map(str, spent.values())).encode()
main()
"""


@dataclass(frozen=True)
class Parts:
    """Microseconds of CPU a request. log: of its threads, after the reply."""

    metrics: float
    drift: float
    log: float


def parts(home: Path, supervisor: Supervisor, ask: Ask, rounds: int) -> Parts:
    """ask: one row for the service as shipped, which runs."""
    process = lab_process("timed", home, free_ports(1)[0], _TIMED)
    pid = supervisor.start(process).pid
    supervisor.wait(process)
    timed = replace(ask, server="timed", pid=pid, url=process.url)
    counts = replace(timed, method="GET", path="/metrics", body=None, headers={}, settle=None)
    before = _spent(counts)
    in_turns([timed], rounds)
    total = (rounds + 1) * (timed.requests + 1)
    return Parts(*((after - b) / total / 1000 for after, b in zip(_spent(counts), before, strict=True)))


def _spent(ask: Ask) -> list[int]:
    """Nanoseconds of CPU that the timed service has spent on (metrics, drift, log)."""
    return [int(number) for number in reply(ask).split()]
