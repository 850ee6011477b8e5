"""Figures of a stack under way: the memory of each service, and what Airflow adds to each step."""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from mlops_lab.model.tags import SECONDS
from tests.stack.stack import Stack

PAUSE = 0.5  # seconds between two looks at the memory
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


class MemoryWatch(threading.Thread):
    """Looks at the memory of the project's containers twice a second until `stop`, as `docker stats` counts it.

    samples: service → [(seconds since the epoch, bytes)], the sum of its replicas.
    """

    def __init__(self, stack: Stack):
        super().__init__(daemon=True)
        self.samples: dict[str, list[tuple[float, int]]] = defaultdict(list)
        self._end = threading.Event()
        socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
        self._engine = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket), base_url="http://docker", timeout=30
        )
        self._project = stack.project

    def run(self) -> None:
        label = f'{{"label": ["com.docker.compose.project={self._project}"]}}'
        while not self._end.wait(PAUSE):
            found: dict[str, int] = defaultdict(int)
            for container in self._engine.get("/containers/json", params={"filters": label}).json():
                query = {"stream": "false", "one-shot": "true"}
                memory = self._engine.get(f"/containers/{container['Id']}/stats", params=query).json()
                used = memory.get("memory_stats", {})
                # Files that nobody uses at the moment are no need of the container.
                cached = used.get("stats", {}).get(
                    "total_inactive_file", used.get("stats", {}).get("inactive_file", 0)
                )
                service = container["Labels"]["com.docker.compose.service"]
                found[service] += used.get("usage", 0) - cached
            for service, size in found.items():
                self.samples[service].append((time.time(), size))

    def stop(self) -> None:
        self._end.set()
        self.join()

    def peak(self, service: str, start: float = 0, end: float = float("inf")) -> int:
        """The most bytes between the two moments."""
        return max((size for moment, size in self.samples[service] if start <= moment <= end), default=0)


def steps(stack: Stack) -> list[Step]:
    """Every task of the training runs that worked on a batch, the oldest first."""
    airflow, found = stack.airflow(), []
    records = _records(stack)
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


def _records(stack: Stack) -> list[dict[str, float]]:
    """For each batch, the oldest first: step → seconds, as the batch's run in MLflow has them."""
    experiment = stack.mlflow("GET", "experiments/get-by-name", params={"experiment_name": USE_CASE})[
        "experiment"
    ]
    search = {
        "experiment_ids": [experiment["experiment_id"]],
        "max_results": 1000,
        "order_by": ["start_time"],
    }
    runs = stack.mlflow("POST", "runs/search", json=search)["runs"]
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
