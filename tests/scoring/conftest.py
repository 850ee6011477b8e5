"""The small models of every task, and short chunks, so that a file of some hundred rows has several."""

from pathlib import Path

import pytest

from mlops_lab.model.predictor import Predictor
from tests.scoring.files import Run
from tests.support import models


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A folder with a model of each use case."""
    folder = tmp_path_factory.mktemp("built")
    for use_case in models.TASKS:
        models.build(folder / use_case, use_case)
    return folder


@pytest.fixture(scope="session")
def predictors(built) -> dict[str, Predictor]:
    return {use_case: Predictor.load(built / use_case) for use_case in models.TASKS}


@pytest.fixture
def run(predictors) -> Run:
    return Run(predictors["houses"])


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Chunks of 100 rows, blocks of 30, batches of 80."""
    for name, size in (("scorer.CHUNK", 100), ("scorer.BLOCK", 30), ("source.BATCH", 80)):
        monkeypatch.setattr(f"mlops_lab.scoring.{name}", size)
