"""The training DAGs on real Airflow (its own database, no scheduler): what runs, what is skipped, what fails."""

import re

import pytest

from mlops_lab.settings import REPOSITORY
from tests.support.data_api import END
from tests.support.flats import FLATS, batch, flats
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("dags")]


RUN = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import training
from mlops_lab.lab import Lab
from mlops_lab.settings import Settings
from mlops_lab.steps.ingest import land

runs = []

def run():
    run = training.flats_training.test()
    tasks = [(ti.task_id, str(ti.state)) for ti in run.get_task_instances()]
    runs.append({"state": str(run.state), "tasks": sorted(tasks)})

for _ in range(4):
    run()
lab = Lab(Settings(), progress=lambda _: None)
skipped = lab.ledger.batches("flats")[-1]
# One more batch, which has failed once. Now the use case is at fault: first it takes too long, then it raises an error.
lab.ledger.note(land(lab, lab.use_case("flats")).id, attempts=1, fault="before")
file = pathlib.Path(sys.argv[2])
good = file.read_text()
# The signal that Airflow sends itself after a task's execution_timeout.
for clean in ("__import__('signal').raise_signal(14)", "frame[[]]"):
    file.write_text(good.replace("metric=RMSE", f"clean=lambda frame: {clean}, metric=RMSE"))
    run()
    batch = lab.ledger.batches("flats")[-1]
    runs.append([batch.state, batch.attempts, batch.fault])
runs.append([skipped.state, skipped.attempts, skipped.fault])
print("RESULT" + json.dumps(runs))
"""

LIST = """
import json, os, pathlib, runpy, sys, types
from airflow.sdk import DAG

def settings():
    # As the DAG processor does, the file is executed anew each time.
    names = ("training.py", "monitoring.py", "scoring.py", "approval.py")
    files = [runpy.run_path(os.path.join(sys.argv[1], name)) for name in names]
    dags = [value for found in files for value in found.values() if isinstance(value, DAG)]
    unbounded = [task.task_id for dag in dags for task in dag.tasks if task.execution_timeout is None]
    return {
        dag.dag_id: [dag.max_active_runs, dag.catchup, str(dag.schedule and dag.timetable.serialize())] for dag in dags
    } | {"unbounded": unbounded}

def raised(use_case):
    found = runpy.run_path(os.path.join(sys.argv[1], "training.py"))
    call = found["flats_training"].get_task("validate").python_callable
    no_batch = types.SimpleNamespace(xcom_pull=lambda **_: None)
    call.__globals__["get_current_context"] = lambda: {"ti": no_batch}
    try:
        call(use_case, 1)
    except Exception as error:
        return [type(error).__name__, str(error)]

before = settings()
pathlib.Path(sys.argv[2]).write_text(sys.argv[3])
os.environ["LAB_HOME"] = sys.argv[2]  # a file
print("RESULT" + json.dumps([before, settings(), raised("flats"), raised("nothing")]))
"""


def states(run: dict) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for task, state in run["tasks"]:
        found.setdefault(task, set()).add(state)
    return found


@pytest.mark.fault
def test_a_broken_batch_is_skipped_a_new_one_trains_a_known_one_skips_and_the_end_is_no_failure(
    in_airflow, course, tmp_path
):
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "flats.py").write_text(FLATS)
    broken, known = {"batch_number": 1, "data": [[1, 2]]}, batch(3, flats(400)[:50])
    course.will_answer(broken, batch(2, flats(400)), known, END, batch(4, flats(60)))
    with Receiver() as receiver:
        unread, trained, skipped, ended, slow, of_slow, closed, of_closed, of_skipped = in_airflow(
            RUN, str(folder / "flats.py"), LAB_USE_CASES=str(folder), LAB_NOTIFY_URL=receiver.url
        )
        told = [re.sub(r"\d+", "N", what) for what in receiver.told]
    assert told == ["batch N broken", "version N promoted", "batch N broken"]

    # Without a retry: the payload would be the same. The ledger has the fault, and the next batch is requested.
    assert unread["state"] == "success"
    for task in ("validate", "prepare", "decide", "train", "promote", "roll_out"):
        assert states(unread)[task] == {"skipped"}, states(unread)
    assert states(unread)["land"] == states(unread)["finish"] == states(unread)["next"] == {"success"}

    assert trained["state"] == "success"
    assert set(states(trained)) == {
        "land", "validate", "prepare", "decide", "train", "promote", "roll_out", "finish", "next",
    }  # fmt: skip
    assert all(found == {"success"} for found in states(trained).values())
    assert len([task for task, _ in trained["tasks"] if task == "train"]) == 2

    # No new groups: training is skipped, the batch is finished, the next run is triggered.
    assert skipped["state"] == "success"
    assert states(skipped)["decide"] == states(skipped)["train"] == states(skipped)["roll_out"] == {"skipped"}
    assert states(skipped)["finish"] == states(skipped)["next"] == {"success"}
    assert of_skipped == ["done", 0, None]

    # The data ended: everything is skipped, and nothing triggers another run.
    assert ended["state"] == "success"
    assert set().union(*states(ended).values()) == {"skipped"}

    # A step that takes longer than a task may isn't tried again, and counts as a failed run.
    assert slow["state"] == "failed"
    assert states(slow)["prepare"] == {"failed"}
    assert of_slow[:2] == ["stored", 2]
    assert of_slow[2].startswith("prepare took longer than a task may")

    # A batch that fails in a third run is closed, and the next run is triggered.
    assert closed["state"] == "success"
    assert states(closed)["prepare"] == states(closed)["decide"] == states(closed)["promote"] == {"skipped"}
    assert states(closed)["finish"] == states(closed)["next"] == {"success"}
    assert of_closed[:2] == ["broken", 3]
    assert "the clean function of flats doesn't return the columns: area" in of_closed[2]


def test_every_use_case_in_the_folder_has_a_dag_and_a_new_file_adds_one(in_airflow, tmp_path):
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "flats.py").write_text(FLATS)
    (folder / "broken.py").write_text("1 / 0")

    asks = FLATS.replace('name="flats"', 'name="houses"').replace("sure=0)", 'sure=0, between="ask")')
    added = folder / "houses.py", asks
    found, after, disk, name = in_airflow(LIST, *map(str, added), LAB_USE_CASES=str(folder))
    assert found.pop("unbounded") == after.pop("unbounded") == []
    assert set(found) == {"flats_training", "flats_scoring", "flats_rollback", "monitoring"}
    runs, catchup, timetable = found["flats_training"]
    assert (runs, catchup) == (1, False)
    assert "*/15 * * * *" in timetable
    new = {"houses_training", "houses_scoring", "houses_rollback", "houses_approval"}
    assert set(after) == {*found, *new}
    # A fault of the disk is one line, and a later try can succeed; a name that isn't there stays wrong.
    assert disk[0] == "ServiceError"
    assert disk[1].startswith(f"{folder / 'houses.py'}: File exists; ")
    assert name[0] == "AirflowFailException"


def test_the_workers_celery_settings_load(in_airflow):
    """Else no container of Airflow starts. Celery is imported as there, and nothing is run."""
    code = (
        "import json; from airflow.configuration import conf; "
        "print('RESULT' + json.dumps(conf.getimport('celery', 'celery_config_options')['task_acks_late']))"
    )
    folder = REPOSITORY / "stack" / "airflow"
    settings = {"AIRFLOW__CELERY__CELERY_CONFIG_OPTIONS": "lab_celery.CELERY_CONFIG"}
    assert in_airflow(code, PYTHONPATH=f"{folder}:{REPOSITORY}", **settings) is True
