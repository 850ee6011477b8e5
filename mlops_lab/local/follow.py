"""The demo's view of the loop: it prints the progress of Airflow's runs and of the batches until the data ends."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from mlops_lab.client import InferenceClient
from mlops_lab.data.states import ENDED
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted
from mlops_lab.local.airflow_client import FINAL, AirflowClient
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    from mlops_lab.data.tables import Batch
    from mlops_lab.lab import Lab

# Seconds without a queued or running DAG run after which the loop is over.
IDLE = 20.0
# Seconds in which the prediction API must answer when the loop is over: a service that started meanwhile still loads.
SERVED = 60.0
# A batch is done when its run's task `finish` is.
FINISHED = {"success", "skipped"}


class DemoError(LabError):
    """The loop ended without a served champion."""


@dataclass
class Progress:
    """Lines with the time since the start; on a terminal also what is being waited for."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    started: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def line(self, text: str) -> None:
        self.console.print(f"[dim]{self.elapsed:6.1f}s[/dim]  {text}", soft_wrap=True)

    def during(self, text: str, work: Callable[[], None]) -> None:
        with self.console.status(text):
            work()


@dataclass
class Loop:
    """One use case's DAG while the demo runs it.

    check: raises when a process of the demo has ended. prediction_after: seconds from the start to the first reply
    of the prediction API. paused: whether the loop was paused, because as many batches as wanted are done.
    """

    lab: "Lab"
    use_case: UseCase
    airflow: AirflowClient
    inference: InferenceClient
    progress: Progress
    check: Callable[[], None]
    prediction_after: float | None = None
    paused: bool = False
    _reported: dict[int, str] = field(default_factory=dict)
    _done: set[int] = field(default_factory=set)
    _with_batch: set[str] = field(default_factory=set)

    @property
    def dag(self) -> str:
        return self.use_case.training_dag

    def follow(self, most: int | None = None) -> None:
        """Starts the DAG and reports its batches until the data ends, or `most` batches are done.

        Raises `DemoError` when a run fails.
        """
        self.lab.store.prepare_tables(self.use_case)
        known = {batch.id for batch in self._batches() if batch.state in ENDED}
        self.airflow.wait_for_dag(self.dag)
        earlier = {run["dag_run_id"] for run in self.airflow.runs(self.dag) if run["state"] in FINAL}
        self.airflow.unpause(self.dag)
        if earlier:
            self.progress.line(f"{counted(len(known), 'batch', 'batches')} from earlier runs; continuing")
            self.airflow.trigger(self.dag)
        self.progress.line(f"DAG {self.dag} runs")

        idle_since = time.monotonic()
        with self.progress.console.status(f"{self.dag} …") as status:
            while True:
                self.check()
                runs = [run for run in self.airflow.runs(self.dag) if run["dag_run_id"] not in earlier]
                current = next((run for run in runs if run["state"] == "running"), None)
                if current and self.progress.console.is_terminal:
                    status.update(self._now(current["dag_run_id"]))
                for batch in self._batches():
                    if batch.id not in known:
                        self._report(batch)
                if failed := next((run for run in runs if run["state"] == "failed"), None):
                    fault = self.airflow.fault(self.dag, failed["dag_run_id"])
                    raise DemoError(f"a run of {self.dag} failed: {fault}")
                if self.prediction_after is None and self._done:
                    with suppress(LabError):  # not yet
                        self._predict()
                if most is not None and len(self._done) >= most:
                    self._pause()
                    return
                if any(run["state"] not in FINAL for run in runs):
                    idle_since = time.monotonic()
                if self._ended(runs):
                    return
                if time.monotonic() - idle_since > IDLE:
                    from mlops_lab.steps.ingest import fruitless

                    if (reason := fruitless(self.lab, self.use_case)) is not None:
                        self.progress.line(f"[red]{escape(reason)}[/red]")
                    return
                time.sleep(1)

    def _pause(self) -> None:
        """Pauses the DAG, and leaves no run behind that would hang: Airflow continues none of a paused DAG."""
        self.airflow.pause(self.dag)
        self.paused = True
        while runs := [run for run in self.airflow.runs(self.dag) if run["state"] not in FINAL]:
            self.check()
            for run in (run["dag_run_id"] for run in runs):
                states = {task["task_id"]: task["state"] for task in self.airflow.tasks(self.dag, run)}
                if not {"queued", "running"} & set(states.values()):
                    self._drop(run, states)
            time.sleep(1)
        batches = counted(len(self._done), "batch", "batches")
        self.progress.line(
            f"the loop is paused after {batches}; to go on, unpause {self.dag} in Airflow and trigger it"
        )

    def _drop(self, run: str, states: dict[str, str | None]) -> None:
        """Ends a run that nothing works on. What it began with the next batch, the next run continues."""
        finished = states.get("finish") in FINISHED
        if finished or any(states.values()):
            self.airflow.end(self.dag, run)
        if not finished:
            self.airflow.delete(self.dag, run)

    def wait_for_prediction(self) -> None:
        """Until the prediction API has answered once. Raises `DemoError` when it doesn't within `SERVED` seconds."""
        deadline = time.monotonic() + SERVED
        while self.prediction_after is None:
            self.check()
            try:
                self._predict()
            except LabError as error:
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"there is a champion, but the service doesn't predict: {error}"
                    ) from error
                time.sleep(1)

    def _predict(self) -> None:
        """Sends the contract's example to the prediction API, as a user would."""
        name, target = self.use_case.name, self.use_case.target
        reply = self.inference.predict(name, [self.inference.contract(name).example])
        self.prediction_after = self.progress.elapsed
        value = reply.predictions[0]
        shown = f"{value:,.0f} {target.unit or ''}".strip() if isinstance(value, float) else str(value)
        self.progress.line(
            f"[bold green]first prediction: {target.title} = {shown}[/bold green] "
            f"(version {reply.model.version}, prediction {reply.prediction_ids[0]})"
        )

    def _batches(self) -> "list[Batch]":
        return self.lab.ledger.batches(self.use_case.name)

    def _ended(self, runs: list[dict[str, Any]]) -> bool:
        """Whether a run found no new batch."""
        succeeded = {run["dag_run_id"] for run in runs if run["state"] == "success"} - self._with_batch
        ended = {run for run in succeeded if self.airflow.skipped_at_land(self.dag, run)}
        self._with_batch |= succeeded - ended
        return bool(ended)

    def _report(self, batch: "Batch") -> None:
        """One line each time the ledger has a new state of the batch."""
        if batch.state in ENDED:
            self._done.add(batch.id)
        state = f"{batch.state} {batch.decision}"
        if self._reported.get(batch.id) == state:
            return
        self._reported[batch.id] = state
        for text in self._news(batch):
            name = "a batch" if batch.batch_number is None else f"batch {batch.batch_number}"
            self.progress.line(f"{name}: {text}")

    def _news(self, batch: "Batch") -> list[str]:
        match batch.state:
            case "stored":
                return [f"{batch.received:,} rows, {batch.quarantined:,} quarantined"]
            case "prepared":
                return [f"{batch.clean:,} new clean rows, {batch.duplicates:,} duplicates"]
            case "decided":
                return [f"{batch.decision}, {batch.reason}"]
            case "broken" | "held":
                return [f"[red]{batch.state}, {escape(batch.fault or '')}[/red]"]
            case "done" if batch.decision == "train":
                made = set(self.lab.ledger.models_of_batch(self.use_case.name, batch.id))
                rows = [r for r in self.lab.ledger.promotions(self.use_case.name) if r.challenger in made]
                news = [f"version {row.challenger} {row.outcome}, {row.reason}" for row in rows]
                return news or [escape(batch.reason or "")]
        return []

    def _now(self, run: str) -> str:
        tasks = self.airflow.tasks(self.dag, run)
        running = [t["rendered_map_index"] or t["task_id"] for t in tasks if t["state"] == "running"]
        ended = sum(task["state"] in ("success", "skipped", "failed") for task in tasks)
        names = ", ".join(running) or "between tasks"
        return f"{self.progress.elapsed:.0f}s  {names}  ({ended} of {len(tasks)} tasks)"
