"""A small embedded lab for one command: its own folder and ports, champions on little data, gone at the end."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from mlops_lab.lab import Lab
from mlops_lab.local import embedded
from mlops_lab.local.processes import Supervisor, free_ports, without
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
    progress: Callable[[str], None] = print,
) -> Iterator[Settings]:
    """Settings of a lab with Data API, MLflow and inference, after so many batches of each use case.

    No variable of the caller's own lab has an effect on it. data: a folder of CSV files for the Data API; scale: of
    its synthetic data. Raises `ProcessError` and every `LabError` of the loop.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        settings = _settings(Path(folder) / "home", use_cases, names[0], data)
        processes = [
            embedded.mlflow(settings),
            embedded.data_api_service(settings),
            embedded.inference(settings),
        ]
        environment = without("LAB_") | {"LAB_DATOS_SCALE": str(scale)}
        with Supervisor(settings.home / "logs", environment) as supervisor:
            progress(f"booting a small lab in {settings.home}")
            for process in processes:
                supervisor.start(process)
            for process in processes:
                supervisor.wait(process)
            lab = Lab(settings, lambda _: None)
            for name in names:
                use_case = lab.use_case(name)
                for _ in range(batches):
                    result = run_batch(lab, use_case)
                    progress(f"{name}, batch {result.batch_number}: {result.reason}")
            yield settings


def _settings(home: Path, use_cases: Path, default: str, data: Path | None) -> Settings:
    """Settings from these values and the defaults alone: `model_construct` doesn't read the environment."""
    home.mkdir(parents=True)
    ports: dict[str, Any] = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    values: dict[str, Any] = {
        "home": home,
        "use_cases": use_cases,
        "datos_folder": data,
        "default_use_case": default,
    }
    settings = Settings.model_construct(**values, **ports)
    at = f"http://{settings.bind}"
    return settings.model_copy(
        update={
            "data_api_url": f"{at}:{settings.data_api_port}/{{dataset}}",
            "mlflow_url": f"{at}:{settings.mlflow_port}",
            "inference_url": f"{at}:{settings.inference_port}",
            "reload_token": SecretStr(embedded.secret(settings, "reload_token")),
        }
    )
