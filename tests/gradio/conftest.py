"""The Gradio page against the real services of `tests/support/pages.py`."""

from itertools import count

import pytest

from mlops_lab.local.processes import Process
from tests.support import processes


@pytest.fixture(scope="session")
def start_page(supervisor, folder):
    """Starts the page with its own command, against any prediction API."""
    numbers = count()

    def start(inference_url: str) -> Process:
        variables = {"LAB_INFERENCE_URL": inference_url, "LAB_PAGE_REFRESH": "2"}
        command = ["-m", "gradio_app", "--port", "{port}"]
        page = processes.server(f"gradio-{next(numbers)}", command, folder, "/", **variables)
        return processes.started(supervisor, page)

    return start


@pytest.fixture(scope="session")
def page(start_page, inference) -> Process:
    return start_page(inference.url)
