"""The stack works for long, with a fault every few minutes: nothing is lost, and nothing grows without a bound.

`make soak` runs an hour of it and keeps the figures and their plot; the short form has two faults and checks no growth.
"""

import os
import time
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from tests.stack.causes import kill, outage, short_of_memory
from tests.stack.faults import Callers
from tests.stack.soak import Samples
from tests.stack.stack import PATIENCE

MINUTES = float(os.environ.get("LAB_SOAK_MINUTES", 3))
# With fewer minutes, caches still fill.
LONG = MINUTES >= 30
FAULT_EVERY = 300 if LONG else 75
# What is called flat: the last sixth of the time against the second one. A process that starts again has less.
FACTOR, MORE = 1.15, {"memory": 16, "files": 16}

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(60 * MINUTES + 2 * PATIENCE)]


def test_an_hour_of_batches_and_predictions_with_faults(stack, loop, tmp_path, record_property):
    def killed(service: str):
        return f"{service} killed", partial(kill, stack, service)

    def away(service: str):
        return f"{service} away for 30 s", partial(outage, stack, service, 30)

    faults = cycle(
        [
            killed("airflow-worker"),
            killed("inference"),
            away("mysql"),
            killed("redis"),
            away("minio"),
            killed("airflow-api-server"),
            away("mlflow"),
            killed("airflow-scheduler"),
            away("postgres"),
            killed("airflow-dag-processor"),
            away("data-api"),
            ("worker out of memory", partial(short_of_memory, stack, "airflow-worker")),
        ]
    )
    samples, callers = Samples(stack), Callers(stack, pause=0.1)
    begin = time.monotonic()
    done, lost = loop.done(), 0
    with samples.taken(30 if LONG else 10), callers.call():
        while (next_at := begin + FAULT_EVERY * (len(samples.faults) + 1)) < begin + 60 * MINUTES:
            time.sleep(max(0.0, next_at - time.monotonic()))
            what, cause = next(faults)
            samples.fault(what)
            cause()
            minute = round((next_at - begin) / 60, 1)
            record_property(
                f"minute {minute}: seconds until the loop goes on after: {what}", round(loop.goes_on(what))
            )
            # Two callers, up to ten requests a second each: half a second of them is lost with a killed service.
            lost += 13 if what == "inference killed" else 0
        time.sleep(max(0.0, begin + 60 * MINUTES - time.monotonic()))
    if folder := os.environ.get("LAB_SOAK_FOLDER"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        samples.write(Path(folder) / "soak.csv")
        samples.draw(Path(folder) / "soak.png")
    else:
        samples.draw(tmp_path / "soak.png")
    loop.nothing_is_lost()
    loop.has_one_champion()
    callers.all_logged(lost)
    record_property("batches", loop.done() - done)
    record_property("accepted predictions", len(callers.accepted))
    record_property("calls refused or broken off while a service was down", len(callers.failed))
    growing = []
    for kind, more in MORE.items():
        ends = samples.ends(kind)
        assert ends.keys() >= set(stack.running())
        for name, (early, late) in ends.items():
            record_property(
                f"{kind} of {name}, second and last sixth of the time", f"{early:.0f}, {late:.0f}"
            )
            if late > early * FACTOR + more:
                growing.append(f"{kind} of {name}: {early:.0f} -> {late:.0f}")
    assert not (LONG and growing), growing
    # Nothing waits but what came in the last seconds.
    queues = {name: points[-1][1] for (kind, name), points in samples.series.items() if kind == "queue"}
    record_property("waiting at the end", queues)
    assert queues["tasks in Airflow's queue"] <= 8, queues
    assert queues["predictions in the spool"] <= 500, queues
