"""Figures of a lab under way, on compose or in a cluster: each service's memory, and what Airflow adds to each step."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import httpx

from mlops_lab.errors import first_line
from mlops_lab.local.airflow_client import AirflowClient
from mlops_lab.model.tags import SECONDS
from tests.stack.stack import Stack

USE_CASE, DAG = "housing", "housing_training"
ORDER = ("land", "validate", "prepare", "decide", "train", "promote", "roll_out", "finish")


@dataclass(frozen=True)
class Step:
    """One task of one batch.

    start, end: seconds since the epoch. work: the seconds of the step itself, as its record in MLflow has them; those
    of the task where there is no record. added: the seconds beside it since the task before, or all trainings, ended.
    """

    batch: int
    name: str
    start: float
    end: float
    work: float
    added: float


class Lab(Protocol):
    """The lab on compose or in a cluster."""

    def airflow(self) -> AirflowClient: ...

    def mlflow(self, method: str, path: str, **content) -> dict: ...


class MemoryWatch(threading.Thread):
    """Looks at the memory of the services until `stop`.

    look:    service → bytes, the sum of its replicas.
    pause:   seconds between two looks.
    samples: service → [(seconds since the epoch, bytes)].
    """

    def __init__(self, look: Callable[[], dict[str, int]], pause: float = 0.5):
        super().__init__(daemon=True)
        self.samples: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._look, self._pause, self._end = look, pause, threading.Event()

    def run(self) -> None:
        while not self._end.wait(self._pause):
            try:
                found = self._look()
            except Exception as error:
                print(f"no look at the memory: {first_line(error)}", flush=True)
                continue
            for service, size in found.items():
                self.samples[service].append((time.time(), size))

    def stop(self) -> None:
        self._end.set()
        self.join()

    def peak(self, service: str, start: float = 0, end: float = float("inf")) -> int:
        """The most bytes between the two moments."""
        return max((size for moment, size in self.samples[service] if start <= moment <= end), default=0)


def containers_memory(stack: Stack) -> Callable[[], dict[str, int]]:
    """The look of `MemoryWatch` at a compose project, as `docker stats` counts it."""
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    engine = httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://docker", timeout=30)
    filters = f'{{"label": ["com.docker.compose.project={stack.project}"]}}'

    def look() -> dict[str, int]:
        found: dict[str, int] = defaultdict(int)
        for container in engine.get("/containers/json", params={"filters": filters}).json():
            query = {"stream": "false", "one-shot": "true"}
            memory = engine.get(f"/containers/{container['Id']}/stats", params=query).json()
            used = memory.get("memory_stats", {})
            # Files that nobody uses at the moment are no need of the container.
            cached = used.get("stats", {}).get(
                "total_inactive_file", used.get("stats", {}).get("inactive_file", 0)
            )
            found[container["Labels"]["com.docker.compose.service"]] += used.get("usage", 0) - cached
        return found

    return look


def until_the_data_ends(lab: Lab) -> None:
    """Waits for the end of the loop, and prints each batch that begins."""
    airflow, known = lab.airflow(), 0
    while True:
        time.sleep(2)
        runs = airflow.runs(DAG)
        if runs and airflow.skipped_at_land(DAG, runs[0]["dag_run_id"]):
            return
        if len(runs) > known:
            known = len(runs)
            print(f"batch {known}", flush=True)


def steps(lab: Lab) -> list[Step]:
    """Every task of the training runs that worked on a batch, the oldest first."""
    airflow, found = lab.airflow(), []
    records = _records(lab)
    for run in reversed(airflow.runs(DAG)):
        tasks = [
            task for task in airflow.tasks(DAG, run["dag_run_id"]) if task["start_date"] and task["duration"]
        ]
        if any(task["task_id"] == "validate" for task in tasks):
            batch = len({step.batch for step in found})
            found += _of_batch(batch + 1, tasks, records[batch])
    return found


def _of_batch(number: int, tasks: Iterable[dict[str, Any]], records: dict[str, float]) -> list[Step]:
    found: list[Step] = []
    ends: dict[str, float] = {}
    for task in sorted(tasks, key=lambda task: task["start_date"]):
        name, (start, end) = task["task_id"], between(task)
        # Trainings run side by side, so each follows the decision; a task after them follows the last one.
        before = [moment for other, moment in ends.items() if moment <= start and other != name]
        queued = _seconds(task["queued_when"]) if name == "land" or not before else max(before)
        work = records.get(name, end - start)
        found.append(Step(number, name, start, end, work, end - queued - work))
        ends[name] = max(end, ends.get(name, 0))
    return found


def _records(lab: Lab) -> list[dict[str, float]]:
    """For each batch, the oldest first: step → seconds, as the batch's run in MLflow has them."""
    found = lab.mlflow("GET", "experiments/get-by-name", params={"experiment_name": USE_CASE})
    search = {
        "experiment_ids": [found["experiment"]["experiment_id"]],
        "max_results": 1000,
        "order_by": ["start_time"],
    }
    runs = lab.mlflow("POST", "runs/search", json=search)["runs"]
    return [
        {
            entry["key"].removeprefix(SECONDS): entry["value"]
            for entry in run["data"].get("metrics", [])
            if entry["key"].startswith(SECONDS)
        }
        for run in runs
        if run["info"]["run_name"].startswith("batch-")
    ]


def between(task: dict[str, Any]) -> tuple[float, float]:
    """When the task began and when it ended, in seconds since the epoch."""
    return _seconds(task["start_date"]), _seconds(task["end_date"])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
