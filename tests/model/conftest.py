"""Rows and models that several tests share; nothing here may be changed by a test."""

import os

import pandas as pd
import pytest

from mlops_lab.candidates import gradient_boosting
from mlops_lab.model.train import Trained, train
from tests.support.cases import clean_rows, small_case, small_rows

# The tests use shap for a few rows only: compiling its functions would take six CPU seconds and save none.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

TASKS = ("regression", "binary", "multiclass")


@pytest.fixture(scope="session")
def frames() -> dict[str, pd.DataFrame]:
    """Clean rows of the small use case of each task."""
    raw = small_rows()
    return {task: clean_rows(small_case(task), raw) for task in TASKS}


@pytest.fixture(scope="session")
def trained(frames) -> dict[str, Trained]:
    """A small model of each task."""
    candidate = gradient_boosting({"n_estimators": 20})
    return {task: train(small_case(task), candidate, frames[task]) for task in TASKS}
