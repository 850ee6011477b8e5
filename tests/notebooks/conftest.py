"""One small lab for all notebooks, and a way to run them in it."""

import importlib.util

import pytest

from mlops_lab.local.small_lab import small_lab
from mlops_lab.settings import REPOSITORY
from tests.support.cases import copy_quick


@pytest.fixture(scope="session")
def runner():
    """`notebooks/execute.py`; its folder is no package."""
    spec = importlib.util.spec_from_file_location(
        "execute_notebooks", REPOSITORY / "notebooks" / "execute.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def settings(tmp_path_factory):
    """A running lab after the housing loop's first two batches."""
    folder = tmp_path_factory.mktemp("notebooks") / "use_cases"
    copy_quick(folder)
    with small_lab(["housing"], use_cases=folder, batches=2) as settings:
        yield settings


@pytest.fixture(scope="session")
def executed(runner, settings, tmp_path_factory):
    """Every notebook by name, executed in order as `make notebooks` does."""
    out = tmp_path_factory.mktemp("notebooks")
    variables = runner.environment(settings)
    return {path.stem: runner.execute(path, out / path.name, variables) for path in runner.NOTEBOOKS}
