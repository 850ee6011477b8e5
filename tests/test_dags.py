"""The training DAGs on real Airflow (its own database, no scheduler): what runs, what is skipped, what fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.flats import FLATS, batch, flats

DAGS = Path(__file__).parent.parent / "dags"
AIRFLOW = str(Path(sys.executable).parent / "airflow")
END = (400, {"detail": "all batches are out"})

# Runs in a process of its own, since Airflow reads its environment when it is imported.
RUN = """
import json, sys
sys.path.insert(0, sys.argv[1])
import training
runs = []
for _ in range(int(sys.argv[2])):
    run = training.flats_training.test()
    tasks = [(ti.task_id, str(ti.state)) for ti in run.get_task_instances()]
    runs.append({"state": str(run.state), "tasks": sorted(tasks)})
print("RESULT" + json.dumps(runs))
"""


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory):
    """An Airflow with a migrated database."""
    home = tmp_path_factory.mktemp("airflow")
    env = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
    subprocess.run([AIRFLOW, "db", "migrate"], env=env, check=True, capture_output=True, timeout=240)
    return env


@pytest.fixture
def run(airflow_home, tmp_path, course):
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "flats.py").write_text(FLATS)
    env = airflow_home | {
        "LAB_HOME": str(tmp_path / "lab"),
        "LAB_USE_CASES": str(folder),
        "LAB_DATA_API_URL": course.url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }

    subprocess.run([AIRFLOW, "dags", "reserialize"], env=env, check=True, capture_output=True, timeout=240)

    def _run(times: int = 1) -> list[dict]:
        command = [sys.executable, "-c", RUN, str(DAGS), str(times)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)
        found = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
        assert found, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(found[0].removeprefix("RESULT"))

    return _run


def states(run: dict) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for task, state in run["tasks"]:
        found.setdefault(task, set()).add(state)
    return found


def test_a_batch_trains_a_known_one_skips_and_the_end_is_no_failure(run, course):
    known = batch(2, flats(400)[:50])
    course.will_answer(batch(1, flats(400)), known, END)
    trained, skipped, ended = run(3)

    assert trained["state"] == "success"
    assert set(states(trained)) == {
        "land", "validate", "prepare", "decide", "train", "promote", "roll_out", "finish", "next",
    }  # fmt: skip
    assert all(found == {"success"} for found in states(trained).values())
    assert len([task for task, _ in trained["tasks"] if task == "train"]) == 2

    # Nothing new to learn: training is skipped, the batch is closed, the next one is asked for.
    assert skipped["state"] == "success"
    assert states(skipped)["decide"] == states(skipped)["train"] == states(skipped)["roll_out"] == {"skipped"}
    assert states(skipped)["finish"] == states(skipped)["next"] == {"success"}

    # The data ended: everything is skipped, and nothing triggers another run.
    assert ended["state"] == "success"
    assert set().union(*states(ended).values()) == {"skipped"}


def test_a_broken_batch_fails_its_run_at_once_and_stops_there(run, course):
    course.will_answer({"batch_number": 1, "data": [[1, 2]]}, END)
    (failed,) = run()
    assert failed["state"] == "failed"
    assert states(failed)["validate"] == {"failed"}
    after = ("prepare", "decide", "train", "promote", "roll_out", "finish", "next")
    assert all(states(failed)[task] == {"upstream_failed"} for task in after), states(failed)


def test_every_use_case_in_the_folder_has_a_dag_and_a_new_file_brings_one(airflow_home, tmp_path):
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "flats.py").write_text(FLATS)
    (folder / "broken.py").write_text("1 / 0")

    def dags() -> dict:
        code = (
            f"import sys, json; sys.path.insert(0, {str(DAGS)!r}); import training as t; from airflow.sdk import DAG;"
            "print('RESULT' + json.dumps({d.dag_id: [d.max_active_runs, d.catchup, str(d.timetable.serialize())]"
            " for d in vars(t).values() if isinstance(d, DAG)}))"
        )
        env = airflow_home | {"LAB_USE_CASES": str(folder)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120
        )
        return json.loads(done.stdout.partition("RESULT")[2])

    found = dags()
    assert set(found) == {"flats_training"}
    runs, catchup, timetable = found["flats_training"]
    assert (runs, catchup) == (1, False)
    assert "*/15 * * * *" in timetable
    (folder / "houses.py").write_text(FLATS.replace('name="flats"', 'name="houses"'))
    assert set(dags()) == {"flats_training", "houses_training"}
