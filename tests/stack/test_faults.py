"""Faults on the booted stack, one after the other, while a loop trains and callers predict. Nothing is lost or doubled.

Each test causes a fault, removes the cause, and measures the seconds until the loop has finished a batch without a
hand. `make chaos-test` prints them; docs/operations.md has them.
"""

import time
from collections.abc import Callable

import pytest

from tests.stack.causes import (
    PORTS,
    full,
    kill,
    kill_the_engine,
    kill_with_a_task_taken,
    needs_root,
    outage,
    packets_dropped,
    short_of_memory,
    slow_connections,
    small_disk,
    wrong_secret,
)
from tests.stack.faults import Callers
from tests.stack.stack import PATIENCE, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(2 * PATIENCE)]

slow = pytest.mark.slow


@pytest.fixture
def survives(stack, loop, record_property) -> Callable[..., None]:
    """Causes a fault while the loop trains and callers predict, then checks that nothing was lost."""

    def check(
        what: str, cause: Callable[[], None], mend: Callable[[], None] = lambda: None, lost: int = 0
    ) -> None:
        callers = Callers(stack)
        with callers.call():
            loop.training()
            cause()
            mend()
            record_property(f"seconds until the loop goes on after: {what}", round(loop.goes_on(what)))
        loop.nothing_is_lost()
        loop.has_one_champion()
        callers.all_logged(lost)

    return check


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


def test_a_worker_killed_with_a_task_that_it_has_not_begun(stack, loop, survives):
    survives("worker killed with a task taken", lambda: kill_with_a_task_taken(stack, loop.dag))


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


@slow
def test_a_worker_that_needs_more_memory_than_it_has(stack, survives):
    """The kernel kills a process of it, as a rule the training."""
    survives("worker out of memory", lambda: short_of_memory(stack, "airflow-worker"))


LOGS = "/opt/airflow/logs/dag_id=flats_training"


@slow
@pytest.mark.parametrize(
    ("service", "file", "says"),
    [
        ("inference", "lab_prediction_db_url", "Access denied for user 'predictions'"),
        ("airflow-worker", "lab_raw_db_url", "Access denied for user 'raw'"),
        ("airflow-worker", "lab_s3_secret_key", "SIGNATURE_DOES_NOT_MATCH"),
    ],
)
def test_a_wrong_secret_of_one_service_is_named_until_it_is_right(stack, survives, service, file, says):
    def logged() -> bool:
        if service == "airflow-worker":
            return bool(
                stack.run_in(service, "grep", "--recursive", "--files-with-matches", says, LOGS, check=False)
            )
        return says in stack.compose("logs", "--tail", "500", service)

    def start_with_a_wrong_one() -> None:
        with wrong_secret(stack, service, file):
            eventually(logged, f"{says!r} in the log of {service}", 120)

    # The service stops twice, but as it should.
    survives(f"wrong {file} of {service}", start_with_a_wrong_one)


# The disk


@slow
@needs_root
@pytest.mark.parametrize(
    ("volume", "free"), [("mysql-data", 64), ("minio-data", 64), ("airflow-logs", 256), ("inference-data", 1)]
)
def test_a_full_volume_for_half_a_minute(stack, loop, survives, tmp_path, volume, free):
    """free: MiB that the service needs to begin with."""
    with small_disk(stack, volume, tmp_path / "disk.img", free) as folder:

        def fill() -> None:
            with full(folder):
                time.sleep(30)

        loop.goes_on("another disk")
        survives(f"{volume} full for 30 s", fill)


# The network


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
@pytest.mark.parametrize("other", ["mysql", "minio", "mlflow"])
def test_slow_answers_for_half_a_minute(stack, survives, other):
    """Each packet between the worker and the other service takes half a second, in both directions."""

    def slow_down() -> None:
        delay = {"type": "latency", "attributes": {"latency": 500, "jitter": 100}}
        with slow_connections(stack, "airflow-worker", other, delay):
            time.sleep(30)

    survives(f"worker slowed down to {other} for 30 s", slow_down)


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


# The engine, at last: it stops and starts every container.


@slow
@needs_root
def test_a_killed_engine(stack, survives):
    survives("the engine killed", kill_the_engine, lost=25)
