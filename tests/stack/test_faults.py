"""Faults on the booted stack, one after the other, while a loop trains and callers predict. Nothing is lost or doubled.

Each test causes a fault, removes the cause, and measures the seconds until the loop has finished a batch without a
hand. `make chaos-test` prints them; docs/operations.md has them.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.stack.faults import Callers, Flats
from tests.stack.stack import PATIENCE, Stack, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2 * PATIENCE)]

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def loop(stack, use_cases, data) -> Flats:
    """The running loop, after its first batch. Housing pauses once it has a champion."""
    eventually(stack.champion, "a champion of housing", 2 * PATIENCE)
    airflow = stack.airflow()
    airflow.pause("housing_training")
    loop = Flats(stack, use_cases, data)
    airflow.wait_for_dag(loop.dag, timeout=PATIENCE)
    airflow.unpause(loop.dag)
    eventually(lambda: stack.champion("flats"), "a champion of flats")
    return loop


@pytest.fixture
def survives(stack, loop, record_property) -> Callable[..., None]:
    """Causes a fault while the loop trains and callers predict, then checks that nothing was lost."""

    def check(
        what: str, cause: Callable[[], None], mend: Callable[[], None] = lambda: None, lost: int = 0
    ) -> None:
        callers = Callers(stack)
        with callers.call():
            training(stack, loop)
            cause()
            mend()
            record_property(f"seconds until the loop goes on after: {what}", round(loop.goes_on(what)))
        loop.nothing_is_lost()
        loop.has_one_champion()
        callers.all_logged(lost)

    return check


def training(stack: Stack, loop: Flats) -> None:
    """Waits until a batch is being trained."""
    eventually(lambda: loop.batches()[-1][1] == "decided", "a training", pause=0.2)


def kill(stack: Stack, service: str) -> None:
    """SIGKILL to every process of the service, as the kernel does when memory is short. Docker starts it again."""
    before = stack.containers(service)[0]["State"]["StartedAt"]
    stack.run_in(service, "sh", "-c", "kill -9 -1", check=False)
    eventually(lambda: stack.containers(service)[0]["State"]["StartedAt"] != before, f"{service} again", 60)


def outage(stack: Stack, service: str, seconds: float) -> None:
    stack.compose("stop", "--timeout", "1", service)
    time.sleep(seconds)
    stack.compose("start", service)


@pytest.mark.parametrize(
    "service",
    [
        "airflow-worker",
        pytest.param("airflow-scheduler", marks=slow),
        pytest.param("airflow-dag-processor", marks=slow),
        "airflow-api-server",
        "redis",
        pytest.param("mlflow", marks=slow),
        pytest.param("data-api", marks=slow),
    ],
)
def test_a_killed_service(stack, survives, service):
    survives(f"{service} killed", lambda: kill(stack, service))


def test_a_killed_prediction_service_loses_at_most_the_last_half_second(stack, survives):
    # Two callers, 20 requests a second each.
    survives("inference killed", lambda: kill(stack, "inference"), lost=25)


@pytest.mark.parametrize(
    "service",
    [
        pytest.param("postgres", marks=slow),
        "mysql",
        pytest.param("minio", marks=slow),
        pytest.param("mlflow", marks=slow),
        pytest.param("redis", marks=slow),
        pytest.param("data-api", marks=slow),
    ],
)
def test_a_service_that_is_away_for_half_a_minute(stack, survives, service):
    survives(f"{service} away for 30 s", lambda: outage(stack, service, 30))


# Faults of the network: rules of the packet filter in the worker's own network.

PORTS = {
    "mysql": 3306,
    "minio": 9000,
    "mlflow": 5000,
    "redis": 6379,
    "airflow-api-server": 8080,
    "data-api": 8081,
}


def network_can_be_broken() -> bool:
    return os.geteuid() == 0 and all(map(shutil.which, ("nsenter", "iptables")))


needs_root = pytest.mark.skipif(not network_can_be_broken(), reason="needs root, nsenter and iptables")


@contextmanager
def packets_dropped(stack: Stack, service: str, *match: str) -> Iterator[None]:
    """Packets from the service's container that match are dropped in this block; the sender gets no answer."""

    def rule(action: str) -> None:
        inside = ["nsenter", "--target", str(stack.containers(service)[0]["State"]["Pid"]), "--net"]
        command = ["iptables", "--wait", action, "OUTPUT", "--protocol", "tcp", *match, "--jump", "DROP"]
        subprocess.run([*inside, *command], check=True, timeout=30)

    rule("--append")
    try:
        yield
    finally:
        rule("--delete")


@needs_root
@pytest.mark.parametrize(
    "other",
    [
        "mysql",
        pytest.param("minio", marks=slow),
        pytest.param("mlflow", marks=slow),
        pytest.param("redis", marks=slow),
        pytest.param("airflow-api-server", marks=slow),
        pytest.param("data-api", marks=slow),
    ],
)
def test_the_worker_is_cut_off_for_half_a_minute(stack, survives, other):
    """Open connections stay half-open: neither side hears of it."""

    def cut() -> None:
        with packets_dropped(stack, "airflow-worker", "--dport", str(PORTS[other])):
            time.sleep(30)

    survives(f"worker cut off from {other} for 30 s", cut)


@slow
@needs_root
@pytest.mark.parametrize("service", ["airflow-worker", "inference"])
def test_a_network_that_loses_a_tenth_of_the_packets(stack, survives, service):
    def lose() -> None:
        with packets_dropped(
            stack, service, "--match", "statistic", "--mode", "random", "--probability", "0.1"
        ):
            time.sleep(30)

    survives(f"{service} loses 10 % of its packets for 30 s", lose)
