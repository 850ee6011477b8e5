"""An Airflow with a migrated database and the lab's DAGs: made once, copied for each test."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from mlops_lab.settings import REPOSITORY

DAGS = REPOSITORY / "dags"
# Two commands in one process, since each needs three seconds to load Airflow.
MAKE = """
import sys
from airflow.__main__ import main
for command in (["db", "migrate"], ["dags", "reserialize"]):
    sys.argv = ["airflow", *command]
    main()
"""


@pytest.fixture(scope="session")
def airflow(tmp_path_factory, flats_folder) -> dict[str, str]:
    """The variables of the template. Its DAGs are those of the one use case `flats`."""
    home = tmp_path_factory.mktemp("airflow")
    # Airflow would write its whole default configuration, with this folder's name in it, where the file is missing.
    (home / "airflow.cfg").touch()
    env = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "LAB_USE_CASES": str(flats_folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    subprocess.run([sys.executable, "-c", MAKE], env=env, check=True, capture_output=True, timeout=240)
    return env


@pytest.fixture
def in_airflow(airflow, templates, tmp_path, course) -> Callable:
    """Runs code in a process with an Airflow and an empty lab of its own; returns the JSON that it prints after RESULT.

    It is a separate process, because Airflow reads its environment when it is imported.
    """
    home = tmp_path / "airflow"
    shutil.copytree(airflow["AIRFLOW_HOME"], home)
    templates.copy_empty(tmp_path / "lab")
    env = airflow | {
        "AIRFLOW_HOME": str(home),
        "LAB_HOME": str(tmp_path / "lab"),
        "LAB_DATA_API_URL": course.url,
    }

    def run(code: str, *arguments: str, **variables: str):
        command = [sys.executable, "-c", code, str(DAGS), *arguments]
        done = subprocess.run(command, env=env | variables, capture_output=True, text=True, timeout=280)
        results = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        assert results, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(results[0].removeprefix("RESULT"))

    return run
