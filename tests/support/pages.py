"""Fixtures of the pages' tests: a lab with a history, its inference service, MLflow's server, and a browser."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, ViewportSize, sync_playwright

from mlops_lab.api_keys import line_of
from mlops_lab.local.processes import Process, Supervisor
from tests.support import contracts, processes
from tests.support.history import History

FAILED = pytest.StashKey[bool]()
SIZE: ViewportSize = {"width": 1280, "height": 1000}


def chromium() -> str | None:
    """The browser's path. The headless shell comes first: it has no windows, so it is smaller and takes less CPU."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="session")
def supervisor(folder) -> Iterator[Supervisor]:
    with Supervisor(folder / "logs", processes.keyed()) as supervisor:
        yield supervisor


@pytest.fixture(scope="session")
def past(folder, templates) -> History:
    """A lab after the first batches of three use cases. Its home is `folder / "home"`."""
    home = folder / "home"
    templates.copy_empty(home)
    past = History.at(home)
    past.record(contracts.housing(), batches=3)
    past.record(contracts.diabetes(), batches=1)
    past.record(contracts.covertype(), batches=1)
    past.landed("newcomer")
    return past


@pytest.fixture(scope="session")
def inference(supervisor, past, folder) -> Process:
    """It requires a key, which the pages get from the supervisor."""
    keys = line_of("pages", ["predict"], processes.KEY)
    keys += "\n" + line_of("people", ["predict", "read"], processes.READING_KEY)
    process = processes.inference("inference", folder / "home", LAB_API_KEYS=keys)
    return processes.started(supervisor, process)


@pytest.fixture(scope="session")
def unread(supervisor, folder) -> Process:
    """An inference service that can't reach MLflow, although the pages can."""
    home = folder / "unread"
    home.mkdir()
    process = processes.inference("inference-unread", home, "/health", LAB_MLFLOW_URL=processes.away())
    processes.started(supervisor, process)
    end = time.monotonic() + processes.PATIENCE
    while not httpx.get(f"{process.url}/models", timeout=processes.PATIENCE).json()["registry"]["error"]:
        assert time.monotonic() < end, "it finds out that MLflow is away"
        time.sleep(0.1)
    return process


@pytest.fixture(scope="session")
def mlflow(supervisor, past, folder) -> Process:
    """MLflow's server on the same store: Streamlit reads runs over its REST API."""
    # A bucket that is away, for the tests that need one.
    bucket = {
        "MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    return processes.started(supervisor, processes.mlflow(folder, past.registry.tracking_uri, **bucket))


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserContext]:
    found = chromium()
    if not found:
        pytest.skip(
            "there is no Chromium to open the pages with (Debian: apt install chromium-headless-shell)"
        )
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        started = playwright.chromium.launch(executable_path=found, args=arguments)
        # All tests share one context: its cache keeps Streamlit's scripts, which are several megabytes.
        context = started.new_context(viewport=SIZE, color_scheme="light")
        context.set_default_timeout(processes.PATIENCE * 1000)
        yield context
        started.close()


@pytest.fixture(scope="session")
def only_tab(browser) -> Page:
    return browser.new_page()


@pytest.fixture
def tab(only_tab, folder, request) -> Iterator[Page]:
    """An empty tab, 1280 wide. It is the same one for each test: its process keeps the pages' compiled scripts.

    A failed test leaves a screenshot beside the logs. LAB_SCREENSHOTS=folder keeps one of every test there.
    """
    page = only_tab
    page.set_viewport_size(SIZE)
    yield page
    wanted = os.environ.get("LAB_SCREENSHOTS")
    if wanted or request.node.stash.get(FAILED, False):
        name = f"{request.path.parent.name}-{request.node.name}.png"
        _screenshot(page, Path(wanted or folder / "screenshots") / name)
    page.goto("about:blank")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Stores on each test whether it failed, for its fixtures."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


def _screenshot(page: Page, path: Path) -> None:
    """The whole page: Streamlit scrolls inside of an element, so the window is made as high as its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height = page.evaluate(
        "() => (document.querySelector('[data-testid=stMain]') ?? document.documentElement).scrollHeight"
    )
    page.set_viewport_size({"width": 1280, "height": min(max(height + 20, 1000), 3000)})
    page.wait_for_timeout(500)
    page.screenshot(path=path)
