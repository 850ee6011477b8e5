"""Streamlit against the real services of `tests/support/pages.py`."""

from collections.abc import Iterator
from itertools import count

import pytest

from mlops_lab.local.processes import Process
from mlops_lab.settings import REPOSITORY
from tests.support import processes
from tests.support.alertmanager import Alertmanager


@pytest.fixture(scope="session")
def start_pages(supervisor, folder):
    """Starts Streamlit with its own command, against any services."""
    numbers = count()

    def start(inference_url: str, mlflow_url: str, **more: str) -> Process:
        app = str(REPOSITORY / "streamlit" / "app.py")
        command = ["-m", "streamlit", "run", app, "--server.port", "{port}", "--server.address", "127.0.0.1"]
        variables = {
            "LAB_INFERENCE_URL": inference_url,
            "LAB_MLFLOW_URL": mlflow_url,
            "LAB_PAGE_REFRESH": "2",
            **more,
        }
        name = f"streamlit-{next(numbers)}"
        pages = processes.server(name, command, folder, "/_stcore/health", **variables)
        return processes.started(supervisor, pages)

    return start


@pytest.fixture(scope="session")
def alertmanager() -> Iterator[Alertmanager]:
    """Nothing fires until a test says so."""
    with Alertmanager() as server:
        yield server


@pytest.fixture(scope="session")
def pages(start_pages, inference, mlflow, alertmanager) -> Process:
    return start_pages(inference.url, mlflow.url, LAB_ALERTMANAGER_URL=alertmanager.url)


@pytest.fixture(scope="session")
def lonely_pages(start_pages) -> Process:
    """Streamlit where no other service answers."""
    return start_pages(processes.away(), processes.away())
