"""Streamlit against the real services of `tests/support/pages.py`."""

from collections.abc import Iterator
from itertools import count

import pytest

from mlops_lab import client
from mlops_lab.local.processes import Process
from mlops_lab.settings import REPOSITORY
from tests.support import processes
from tests.support.alertmanager import WATCHDOG, Alertmanager
from tests.support.streamlit_app import Pages


@pytest.fixture(scope="session")
def start_pages(supervisor, folder):
    """Starts Streamlit with its own command, against any services."""
    numbers = count()

    def start(inference_url: str, mlflow_url: str, **more: str) -> Process:
        variables = {"LAB_PAGE_REFRESH": "2", **more}
        name = f"streamlit-{next(numbers)}"
        pages = processes.streamlit(name, folder, inference_url, mlflow_url, **variables)
        return processes.started(supervisor, pages)

    return start


@pytest.fixture(scope="session")
def alertmanager() -> Iterator[Alertmanager]:
    """Nothing fires until a test says so."""
    with Alertmanager() as server:
        yield server


@pytest.fixture(scope="session")
def data_api(supervisor, folder) -> Process:
    """Nobody asks it for a batch."""
    process = processes.server("data-api", ["-m", "datos", "--port", "{port}"], folder, "/health")
    return processes.started(supervisor, process)


@pytest.fixture(scope="session")
def pages(start_pages, inference, mlflow, data_api, alertmanager) -> Process:
    others = {"LAB_DATA_API_URL": data_api.url, "LAB_ALERTMANAGER_URL": alertmanager.url}
    return start_pages(inference.url, mlflow.url, **others)


@pytest.fixture(scope="session")
def lonely_pages(start_pages) -> Process:
    """Streamlit where no other service answers."""
    return start_pages(processes.away(), processes.away(), LAB_DATA_API_URL=processes.away())


@pytest.fixture
def show(monkeypatch, inference, mlflow, data_api, alertmanager) -> Iterator[Pages]:
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_frame
    import ui_services
    import ui_traffic

    # A busy machine isn't a silent service.
    monkeypatch.setattr(client, "QUICK", processes.PATIENCE)
    for limit in ("INFERENCE_SECONDS", "MLFLOW_SECONDS"):
        monkeypatch.setattr(ui_frame, limit, processes.PATIENCE)
    for module, limit in ((ui_services, "SECONDS"), (ui_services, "PATIENCE"), (ui_traffic, "SECONDS")):
        monkeypatch.setattr(module, limit, processes.PATIENCE)
    monkeypatch.setenv("LAB_API_KEY", processes.KEY)
    services = {"inference": inference.url, "mlflow": mlflow.url, "alertmanager": alertmanager.url}
    services["data_api"] = data_api.url
    alertmanager.alerts = [WATCHDOG]
    pages = Pages(monkeypatch, services)
    yield pages
    # Other tests' pages have other addresses.
    pages.forget()
