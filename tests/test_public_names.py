"""The names that a use case imports from `mlops_lab`, and the modules that the import loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlops_lab

HEAVY = {
    "sklearn",
    "pandas",
    "scipy",
    "lightgbm",
    "imblearn",
    "mlflow",
    "onnx",
    "onnxruntime",
    "sqlalchemy",
    "matplotlib",
    "optuna",
    "dask",
    "distributed",
}


def test_every_public_name_can_be_imported_and_is_the_one_that_the_type_checker_sees():
    source = ast.parse(Path(mlops_lab.__file__).read_text(encoding="utf-8"))
    declared = {
        alias.name: node.module
        for block in source.body
        if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
    }
    assert sorted(declared) == sorted(mlops_lab.__all__)
    for name, module in declared.items():
        assert getattr(mlops_lab, name) is getattr(sys.modules[module], name), name
    with pytest.raises(ImportError, match="nothing_like_it"):
        exec("from mlops_lab import nothing_like_it")


@pytest.mark.process
def test_help_waits_for_no_large_library():
    code = "import mlops_lab.cli, sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(ast.literal_eval(done.stdout))
    assert not (HEAVY | {"numpy", "pydantic", "pydantic_settings", "httpx"}) & loaded


@pytest.mark.parametrize(
    "code",
    [
        "import mlops_lab",
        "from mlops_lab import *",
        "from mlops_lab.settings import REPOSITORY; from mlops_lab.use_case import read_use_cases;"
        "found, faults = read_use_cases(REPOSITORY / 'use_cases');"
        "assert len(found) >= 3 and not faults, faults",
    ],
    ids=["import", "every name", "the use cases"],
)
@pytest.mark.process
def test_no_learning_library_is_imported(code):
    """Airflow's DAG processor imports the use cases every few seconds."""
    code += "; import sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(ast.literal_eval(done.stdout))
