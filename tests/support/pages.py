"""What the pages' tests share: an MLflow server with a past, the inference service on it, and a browser."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from sqlalchemy import create_engine

from mlops_lab.data.tables import RAW
from mlops_lab.model.registry import Registry
from tests.support import history
from tests.support.processes import PATIENCE, Service, free_port

os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def mlflow(folder):
    port = free_port()
    command = [
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts"),
    ]
    service = Service("mlflow", command, "/health", folder, port, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    yield service.start()
    service.stop()


@pytest.fixture(scope="session")
def registry(mlflow, folder) -> Registry:
    """The registry after three use cases have been through their first batches."""
    history.record(mlflow.url, folder, history.housing(), batches=3)
    history.record(mlflow.url, folder, history.diabetes(), batches=1)
    registry = history.record(mlflow.url, folder, history.covertype(), batches=1)
    history.batch_without_model(registry, "newcomer")
    return registry


@pytest.fixture(scope="session")
def inference(mlflow, registry, folder):
    home = folder / "home"
    home.mkdir()
    engine = create_engine(f"sqlite:///{home / 'RawData.db'}")
    RAW.create_all(engine)
    engine.dispose()
    port = free_port()
    command = [sys.executable, "-m", "inference", "--host", "127.0.0.1", "--port", str(port)]
    environment = {"LAB_HOME": str(home), "LAB_MLFLOW_URL": mlflow.url, "LAB_INFERENCE_POLL": "1"}
    service = Service("inference", command, "/ready", folder, port, **environment)
    yield service.start()
    service.stop()


@pytest.fixture(scope="session")
def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        pytest.skip("there is no Chromium to open the pages with (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = playwright.chromium.launch(executable_path=found, args=arguments)
        # One context: its cache keeps Streamlit's scripts, some megabytes, which a busy machine is slow to send.
        context = chromium.new_context(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        context.set_default_timeout(PATIENCE * 1000)
        yield context
        chromium.close()


@pytest.fixture
def tab(browser, folder, request):
    """A new tab, 1280 wide; a screenshot of how the test left it lies beside the logs."""
    page = browser.new_page()
    yield page
    shots = Path(os.environ.get("LAB_SCREENSHOTS") or folder / "screenshots")
    shots.mkdir(parents=True, exist_ok=True)
    height = page.evaluate(
        "() => (document.querySelector('[data-testid=stMain]') ?? document.documentElement).scrollHeight"
    )
    page.set_viewport_size({"width": 1280, "height": min(max(height + 20, 1000), 3000)})
    page.wait_for_timeout(500)
    page.screenshot(path=shots / f"{request.node.name}.png")
    page.close()
