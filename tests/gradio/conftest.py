"""The Gradio page against the real services of `tests/support/pages.py`."""

import sys

import pytest

from tests.support.processes import Service, free_port


@pytest.fixture(scope="session")
def start_page(folder):
    """Starts the page as a person would, against any prediction API."""
    started = []

    def start(inference_url: str) -> Service:
        port, name = free_port(), f"gradio-{len(started)}"
        command = [sys.executable, "-m", "gradio_app", "--port", str(port)]
        environment = {"LAB_INFERENCE_URL": inference_url, "LAB_PAGE_REFRESH": "2"}
        started.append(Service(name, command, "/", folder, port, **environment))
        return started[-1].start()

    yield start
    for service in started:
        service.stop()


@pytest.fixture(scope="session")
def page(start_page, inference) -> Service:
    return start_page(inference.url)
