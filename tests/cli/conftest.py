"""The command `lab` in this process, on a lab with a champion."""

from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from mlops_lab.cli import app

Command = Callable[..., Result]


@pytest.fixture
def command(trained, monkeypatch) -> Command:
    """Calls `lab` with these arguments; fails the test at another exit status than the given one."""
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    monkeypatch.setenv("LAB_DATA_API_URL", trained.settings.data_api_url)

    def call(*arguments: str, status: int = 0, **options: str) -> Result:
        done = CliRunner().invoke(app, arguments, **options)
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return call
