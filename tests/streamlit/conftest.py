"""Streamlit against the real services of `tests/support/pages.py`."""

import sys

import pytest

from tests.support.processes import REPOSITORY, Service, free_port


@pytest.fixture(scope="session")
def start_pages(folder):
    """Starts Streamlit as a person would, against any services."""
    started = []

    def start(inference_url: str, mlflow_url: str) -> Service:
        port = free_port()
        command = [
            *(sys.executable, "-m", "streamlit", "run", str(REPOSITORY / "streamlit" / "app.py")),
            *("--server.port", str(port), "--server.address", "127.0.0.1"),
        ]
        environment = {
            "LAB_INFERENCE_URL": inference_url,
            "LAB_MLFLOW_URL": mlflow_url,
            "LAB_PAGE_REFRESH": "2",
        }
        name = f"streamlit-{len(started)}"
        started.append(Service(name, command, "/_stcore/health", folder, port, **environment))
        return started[-1].start()

    yield start
    for service in started:
        service.stop()


@pytest.fixture(scope="session")
def pages(start_pages, inference, mlflow) -> Service:
    return start_pages(inference.url, mlflow.url)


@pytest.fixture(scope="session")
def lonely_pages(start_pages) -> Service:
    """Streamlit where no other service answers."""
    return start_pages(f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}")
