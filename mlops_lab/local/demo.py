"""`make demo`: every service on this machine, the loop run by Airflow, its progress and a report at the end."""

import time
from typing import TYPE_CHECKING

from mlops_lab.client import InferenceClient
from mlops_lab.form import mlflow_page
from mlops_lab.local import embedded
from mlops_lab.local.airflow_client import AirflowClient
from mlops_lab.local.follow import DemoError, Loop, Progress
from mlops_lab.local.processes import Process, Supervisor, check_ports
from mlops_lab.local.signals import ended_by_signal
from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    from mlops_lab.lab import Lab


MONITORING = "monitoring"  # the DAG of dags/monitoring.py


def run_demo(settings: Settings, use_case: UseCase, once: bool, batches: int | None, gradio: bool) -> None:
    """Boots, runs the loop to the end of the data, reports; stays up until Ctrl-C unless `once`.

    Raises `ProcessError` when a service can't start, `DemoError` when the loop fails. No process is left in any
    case.
    """
    progress = Progress()
    migration, airflow = embedded.airflow(settings)
    mlflow, data_api = embedded.mlflow(settings), embedded.data_api_service(settings)
    inference = embedded.inference(settings)
    pages = [embedded.streamlit(settings, gradio), *([embedded.gradio(settings)] if gradio else [])]
    web = [airflow[0], data_api, inference, *pages, mlflow]
    password = embedded.secret(settings, "airflow_admin", 12)
    with ended_by_signal(), Supervisor(settings.home / "logs") as supervisor:
        check_ports(web)
        progress.line(f"starting the lab in {settings.home.resolve()}; logs are in its folder logs/")
        supervisor.start(mlflow)
        supervisor.start(data_api)
        progress.during(
            "preparing Airflow's database",
            lambda: embedded.migrate_airflow(settings, lambda: supervisor.run(migration)),
        )
        for process in (*airflow, inference, *pages):
            supervisor.start(process)
        lab = _lab(settings.model_copy(update={"mlflow_url": mlflow.url}))
        for process in (data_api, mlflow, inference, *pages, airflow[0]):
            progress.during(f"waiting for {process.name}", lambda process=process: supervisor.wait(process))
            progress.line(f"{process.name} is up")
        from mlops_lab.steps.sign import sign_earlier  # loaded late, as in `_lab`

        sign_earlier(lab)
        loop = Loop(
            lab=lab,
            use_case=use_case,
            airflow=AirflowClient(airflow[0].url, "admin", password, supervisor.check),
            inference=InferenceClient(inference.url, key=settings.api_key),
            progress=progress,
            check=supervisor.check,
        )
        loop.follow(batches)
        _report(loop)
        _urls(web, {"Airflow": f"  (admin / {password})"}, progress)
        if once:
            progress.line("the loop is over; stopping everything")
            return
        # It was created paused, as every DAG of the demo, so that its checks didn't compete with the loop.
        loop.airflow.wait_for_dag(MONITORING)
        loop.airflow.unpause(MONITORING)
        supervisor.start(embedded.airflow_triggerer(settings))
        following = "" if loop.paused else " Every 15 minutes the next batch is requested."
        progress.line(f"the lab is up; Ctrl-C stops it.{following}")
        while True:
            supervisor.check()
            time.sleep(1)


def _lab(settings: Settings) -> "Lab":
    # Imported here, because MLflow's client takes two seconds to load, in which the services start.
    from mlops_lab.lab import Lab

    return Lab(settings, lambda _: None)


def _report(loop: Loop) -> None:
    from mlops_lab.model.registry import CHAMPION
    from mlops_lab.status import champion_status

    name, progress = loop.use_case.name, loop.progress
    version = loop.lab.registry.by_alias(name, CHAMPION)
    if version is None:
        raise DemoError(f"the loop ended without a champion; `lab status {name}` shows the reasons")
    champion = champion_status(loop.lab, version)
    loop.wait_for_prediction()
    progress.console.rule(f"{loop.use_case.title}: the loop is over")
    lines = {
        "champion": f"version {champion.version}, {champion.candidate}, {champion.origin}",
        "score": champion.scores,
        "sealed": champion.sealed_line,
        "promoted": champion.reason,
        "first prediction": f"{loop.prediction_after:.1f} s after the start",
    }
    for key, text in lines.items():
        progress.console.print(f"  [bold]{key:17}[/bold] {text}", soft_wrap=True)


def _urls(processes: list[Process], logins: dict[str, str], progress: Progress) -> None:
    """The address of each service, with its login where it has one."""
    addresses = {process.name: f"{process.url}{logins.get(process.name, '')}" for process in processes}
    addresses["MLflow"] = mlflow_page(addresses["MLflow"])
    addresses["API documentation"] = f"{addresses['Inference']}/docs"
    progress.console.print()
    for name, address in addresses.items():
        progress.console.print(f"  [bold]{name:17}[/bold] {address}", soft_wrap=True)
    progress.console.print()
