"""`make demo`: every service on this machine, the loop run by Airflow, its progress and a report at the end."""

import time
from dataclasses import dataclass, field

import httpx
from rich.console import Console

from mlops_lab.errors import LabError
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.local import embedded
from mlops_lab.local.airflow_client import AirflowClient
from mlops_lab.local.processes import Process, Supervisor, check_ports, ended_by_signal
from mlops_lab.model.registry import CHAMPION
from mlops_lab.settings import Settings
from mlops_lab.status import champion_status
from mlops_lab.use_case import UseCase

IDLE = 20.0  # seconds without a queued or running DAG run after which the loop is over
FINAL = {"success", "failed"}


class DemoError(LabError):
    """The loop didn't come to a served champion."""


def run_demo(settings: Settings, use_case: UseCase, once: bool, batches: int | None, gradio: bool) -> None:
    """Boots, runs the loop to the end of the data, reports; stays up until Ctrl-C unless `once`.

    Raises `ProcessError` when a service can't start, `DemoError` when the loop fails. Whatever happens, no
    process is left.
    """
    progress = Progress()
    migration, airflow = embedded.airflow(settings)
    web = [embedded.data_api_service(settings), embedded.inference(settings), embedded.streamlit(settings)]
    if gradio:
        web.append(embedded.gradio(settings))
    mlflow = embedded.mlflow(settings)
    with ended_by_signal(), Supervisor(settings.home / "logs") as supervisor:
        check_ports([airflow[0], mlflow, *web])
        progress.line(f"starting the lab in {settings.home.resolve()}; logs are in its folder logs/")
        supervisor.start(mlflow)
        supervisor.start(web[0])
        progress.during("preparing Airflow's database", lambda: supervisor.run(migration))
        for process in (*airflow, *web[1:]):
            supervisor.start(process)
        for process in (web[0], mlflow, *web[1:], airflow[0]):
            progress.during(f"waiting for {process.name}", lambda process=process: supervisor.wait(process))
            progress.line(f"{process.name} is up")
        client = AirflowClient(airflow[0].url, "admin", embedded.secret(settings, "airflow_admin", 12))
        _follow(settings, use_case, supervisor, client, progress, batches)
        _urls(settings, [airflow[0], *web, mlflow], progress)
        if once:
            progress.line("the loop is over; stopping everything")
            return
        progress.line("the lab is up; Ctrl-C stops it. A new batch is asked for every 15 minutes.")
        while True:
            supervisor.check()
            time.sleep(1)


@dataclass
class Progress:
    """Lines with the time since the start; on a terminal also what is going on right now."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    started: float = field(default_factory=time.monotonic)
    prediction_after: float | None = None

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def line(self, text: str) -> None:
        self.console.print(f"[dim]{self.elapsed:6.1f}s[/dim]  {text}", soft_wrap=True)

    def during(self, text: str, work) -> None:
        with self.console.status(text):
            work()


def _follow(
    settings: Settings,
    use_case: UseCase,
    supervisor: Supervisor,
    airflow: AirflowClient,
    progress: Progress,
    most: int | None,
) -> None:
    """Starts the DAG and tells what its runs do, until the data ends (or `most` batches are done)."""
    dag = f"{use_case.name}_training"
    lab = Lab(settings.model_copy(update=_urls_of(settings)), progress=lambda _: None)
    lab.store.prepare_tables(use_case)
    known = {batch.id for batch in lab.ledger.batches(use_case.name) if batch.state == "done"}
    airflow.wait_for_dag(dag, supervisor.check)
    earlier = {run["dag_run_id"] for run in airflow.runs(dag) if run["state"] in FINAL}
    airflow.unpause(dag)
    if earlier:
        progress.line(f"{counted(len(known), 'batch', 'batches')} from earlier; going on")
        airflow.trigger(dag)
    progress.line(f"DAG {dag} runs")

    told: dict[str, str] = {}
    done: set[int] = set()
    quiet_since = time.monotonic()
    with progress.console.status(f"{dag} …") as status:
        while True:
            supervisor.check()
            runs = [run for run in airflow.runs(dag) if run["dag_run_id"] not in earlier]
            current = next((run for run in runs if run["state"] == "running"), None)
            if current:
                status.update(_now(airflow.tasks(dag, current["dag_run_id"]), use_case, progress))
            for batch in lab.ledger.batches(use_case.name):
                if batch.id not in known:
                    _tell(lab, use_case, batch, told, progress)
                    if batch.state in ("done", "broken"):
                        done.add(batch.id)
            if failed := next((run for run in runs if run["state"] == "failed"), None):
                raise DemoError(f"a run of {dag} failed: {airflow.fault(dag, failed['dag_run_id'])}")
            if progress.prediction_after is None and done:
                _first_prediction(settings, use_case, progress)
            if any(run["state"] not in FINAL for run in runs):
                quiet_since = time.monotonic()
            over = any(
                r["state"] == "success" and airflow.skipped_at_land(dag, r["dag_run_id"]) for r in runs
            )
            if most is not None and len(done) >= most:
                airflow.pause(dag)
                break
            if over or time.monotonic() - quiet_since > IDLE:
                break
            time.sleep(1)
    _report(lab, use_case, progress)


def _report(lab: Lab, use_case: UseCase, progress: Progress) -> None:
    version = lab.registry.by_alias(use_case.name, CHAMPION)
    if version is None:
        raise DemoError(f"the loop ended without a champion; `lab status {use_case.name}` says why")
    champion = champion_status(lab, version)
    if progress.prediction_after is None:
        _first_prediction(lab.settings, use_case, progress)
    if progress.prediction_after is None:
        raise DemoError(f"version {version.version} is the champion, but the service doesn't predict with it")
    progress.console.rule(f"{use_case.title}: the loop is over")
    lines = {
        "champion": f"version {champion.version}, {champion.candidate}, {champion.origin}",
        "score": champion.scores,
        "promoted": champion.reason,
        "first prediction": f"{progress.prediction_after:.1f} s after the start",
    }
    for key, text in lines.items():
        progress.console.print(f"  [bold]{key:17}[/bold] {text}", soft_wrap=True)


def _first_prediction(settings: Settings, use_case: UseCase, progress: Progress) -> None:
    """Asks the service, as a user would, for the contract's example."""
    url = f"http://{settings.bind}:{settings.inference_port}"
    contract = httpx.get(f"{url}/models/{use_case.name}", timeout=10)
    if contract.status_code != 200:
        return
    features = contract.json()["features"]
    example = {feature["name"]: feature["example"] for feature in features}
    reply = httpx.post(f"{url}/predict/{use_case.name}", json=example, timeout=10)
    if reply.status_code == 200:
        body, progress.prediction_after = reply.json(), progress.elapsed
        value = body["predictions"][0]
        shown = (
            f"{value:,.0f} {use_case.target.unit or ''}".strip() if isinstance(value, float) else str(value)
        )
        progress.line(
            f"[bold green]first prediction: {use_case.target.title} = {shown}[/bold green] "
            f"(version {body['model']['version']}, prediction {body['prediction_ids'][0]})"
        )


def _tell(lab: Lab, use_case: UseCase, batch, told: dict, progress: Progress) -> None:
    """One line each time the ledger says that a batch has come further."""
    state = f"{batch.state} {batch.decision}"
    if told.get(str(batch.id)) == state:
        return
    told[str(batch.id)] = state
    name = f"batch {batch.batch_number}"
    if batch.state == "stored":
        progress.line(f"{name}: {batch.received:,} rows, {batch.quarantined:,} quarantined")
    elif batch.state == "prepared":
        progress.line(f"{name}: {batch.clean:,} new clean rows, {batch.duplicates:,} duplicates")
    elif batch.state == "decided":
        progress.line(f"{name}: {batch.decision}, {batch.reason}")
    elif batch.state == "broken":
        progress.line(f"{name}: [red]{batch.fault}[/red]")
    elif batch.state == "done" and batch.decision == "train":
        made = set(lab.ledger.models_of_batch(use_case.name, batch.id))
        for row in lab.ledger.promotions(use_case.name):
            if row.challenger in made:
                progress.line(f"{name}: version {row.challenger} {row.outcome}, {row.reason}")


def _now(tasks: list[dict], use_case: UseCase, progress: Progress) -> str:
    running = [task["rendered_map_index"] or task["task_id"] for task in tasks if task["state"] == "running"]
    ended = sum(task["state"] in ("success", "skipped", "failed") for task in tasks)
    return (
        f"{progress.elapsed:.0f}s  {', '.join(running) or 'between tasks'}  ({ended} of {len(tasks)} tasks)"
    )


def _urls_of(settings: Settings) -> dict:
    return {"mlflow_url": f"http://{settings.bind}:{settings.mlflow_port}"}


def _urls(settings: Settings, processes: list[Process], progress: Progress) -> None:
    progress.console.print()
    for process in processes:
        login = ""
        if process.name == "Airflow":
            login = f"  (admin / {embedded.secret(settings, 'airflow_admin', 12)})"
        progress.console.print(f"  [bold]{process.name:17}[/bold] {process.url}{login}", soft_wrap=True)
    progress.console.print(
        f"  [bold]{'API documentation':17}[/bold] http://{settings.bind}:{settings.inference_port}/docs\n"
    )
