"""MLflow's telemetry is off in each process of the lab, whatever started it."""

import ast
import os
import subprocess
import sys

import pytest

from mlops_lab.settings import REPOSITORY

CODE = "import os, mlops_lab.model.tags; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"


@pytest.mark.process
def test_the_package_that_imports_mlflow_turns_its_telemetry_off_first():
    unset = {key: value for key, value in os.environ.items() if key != "MLFLOW_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", CODE], env=unset, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "true", done.stderr
    # MLflow reads the variable when it is imported, so no other package may be the first to do it.
    package = REPOSITORY / "mlops_lab" / "model"
    paths = [path for folder in ("mlops_lab", "inference") for path in (REPOSITORY / folder).rglob("*.py")]
    first = [path for path in paths if package not in path.parents and imports_mlflow(path.read_text())]
    assert len(paths) > 100
    assert first == []


def imports_mlflow(source: str) -> bool:
    """Whether a module imports MLflow when it is imported itself."""
    nodes = ast.parse(source).body
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return any(name.split(".")[0] == "mlflow" for name in names)
