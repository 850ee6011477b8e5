"""The booted stack that the tests of this folder share; nothing of it is left afterwards, whatever happens."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.stack import PATIENCE, REPOSITORY, Stack, docker_works


@pytest.fixture(scope="session")
def use_cases(tmp_path_factory) -> Path:
    """The folder that is mounted into the stack: housing alone at first, so that nothing competes with it."""
    folder = tmp_path_factory.mktemp("use-cases")
    shutil.copy(REPOSITORY / "use_cases" / "housing.py", folder)
    for path in (folder, folder.parent, folder.parent.parent):  # Airflow in its container isn't the owner
        path.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def stack(use_cases, request) -> Iterator[Stack]:
    if not docker_works():
        pytest.fail("no Docker here: start its engine, then `make stack-test`")
    stack = Stack(use_cases)
    try:
        stack.compose("build", timeout=3 * PATIENCE)
        stack.boot_seconds = stack.up()
        yield stack
    finally:
        if request.session.testsfailed or not hasattr(stack, "boot_seconds"):
            # Not captured: pytest would show it only if the session's last test were the one that failed.
            with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
                print(
                    stack.compose("ps", "--all", check=False),
                    stack.compose("logs", "--tail", "15", check=False)[-20000:],
                )
        stack.down("--volumes", "--remove-orphans")
