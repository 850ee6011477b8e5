"""The booted stack that the tests of this folder share. It is removed afterwards, also after a failure."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlops_lab.settings import REPOSITORY
from tests.stack.faults import Flats
from tests.stack.stack import PATIENCE, Stack, docker_works, eventually

FOLDER = Path(__file__).parent


# They share one stack: it is booted, works, is watched, broken, restored, upgraded, operated and removed.
ORDER = (
    "boot logins sbom lab_check loop bulk observability faults soak backup upgrade serving operation".split()
)


def pytest_collection_modifyitems(items):
    items.sort(
        key=lambda item: (
            ORDER.index(item.path.stem.removeprefix("test_")) if item.path.parent == FOLDER else -1
        )
    )


@pytest.fixture(scope="session")
def use_cases(tmp_path_factory) -> Path:
    """The folder that is mounted into the stack. At first it has only housing, so that no other use case trains."""
    folder = tmp_path_factory.mktemp("use-cases")
    shutil.copy(REPOSITORY / "use_cases" / "housing.py", folder)
    return _readable(folder)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """The folder of data files that is mounted into the Data API; empty at first."""
    return _readable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def stack(use_cases, data, request) -> Iterator[Stack]:
    if not docker_works():
        pytest.fail("no Docker here: start its engine, then `make stack-test`")
    stack = Stack(use_cases, data)
    try:
        stack.compose("build", timeout=3 * PATIENCE)
        stack.boot_seconds = stack.up()
        yield stack
    finally:
        if request.session.testsfailed or not hasattr(stack, "boot_seconds"):
            # pytest would show captured output only if the last test of the session had failed.
            with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                print(
                    stack.compose("ps", "--all", check=False),
                    stack.compose("logs", "--tail", "15", check=False)[-20000:],
                )
        stack.down("--volumes", "--remove-orphans")


@pytest.fixture(scope="session")
def loop(stack, use_cases, data) -> Flats:
    """The running loop, after its first batch. Housing pauses once it has a champion."""
    eventually(stack.champion, "a champion of housing", 2 * PATIENCE)
    airflow = stack.airflow()
    airflow.pause("housing_training")
    loop = Flats(stack, use_cases, data)
    airflow.wait_for_dag(loop.dag, timeout=PATIENCE)
    airflow.unpause(loop.dag)
    eventually(lambda: stack.champion("flats"), "a champion of flats")
    return loop


def _readable(folder: Path) -> Path:
    """The folder, which the users of the containers may read."""
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    return folder
