"""A small embedded lab for one command: a folder of its own, free ports, champions on little data, gone at the end."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from mlops_lab.lab import Lab
from mlops_lab.local import embedded
from mlops_lab.local.processes import Supervisor, free_ports
from mlops_lab.loop import run_batch
from mlops_lab.settings import REPOSITORY, Settings

PORTS = ("data_api_port", "mlflow_port", "inference_port")


@contextmanager
def small_lab(
    names: Sequence[str],
    *,
    use_cases: Path = REPOSITORY / "use_cases",
    data: Path | None = None,
    batches: int = 1,
    scale: float = 0.005,
    say: Callable[[str], None] = print,
) -> Iterator[Settings]:
    """Settings of a lab with Data API, MLflow and inference, after so many turns of each use case's loop.

    No variable of the caller's own lab reaches it. data: a folder of CSV files for the Data API; scale: of its
    synthetic data. Raises `ProcessError` and every `LabError` of the loop.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as folder, _without_lab_variables():
        settings = _settings(Path(folder) / "home", use_cases, names[0])
        os.environ["LAB_DATOS_SCALE"] = str(scale)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        if data:
            os.environ["LAB_DATOS_FOLDER"] = str(data)
        started = [
            embedded.mlflow(settings),
            embedded.data_api_service(settings),
            embedded.inference(settings),
        ]
        with Supervisor(settings.home / "logs") as supervisor:
            say(f"booting a small lab in {settings.home}")
            for process in started:
                supervisor.start(process)
            for process in started:
                supervisor.wait(process)
            lab = Lab(settings, say=lambda _: None)
            for name in names:
                use_case = lab.use_case(name)
                for _ in range(batches):
                    done = run_batch(lab, use_case)
                    say(f"{name}, batch {done.batch_number}: {done.reason}")
            yield settings


def _settings(home: Path, use_cases: Path, default: str) -> Settings:
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    home.mkdir(parents=True)
    settings = Settings(home=home, use_cases=use_cases, default_use_case=default, **ports)
    at = f"http://{settings.bind}"
    return settings.model_copy(
        update={
            "data_api_url": f"{at}:{settings.data_api_port}/{{dataset}}",
            "mlflow_url": f"{at}:{settings.mlflow_port}",
            "inference_url": f"{at}:{settings.inference_port}",
            "reload_token": SecretStr(embedded.secret(settings, "reload_token")),
        }
    )


@contextmanager
def _without_lab_variables() -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("LAB_")}
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith("LAB_")]:
            del os.environ[name]
        os.environ.update(before)
