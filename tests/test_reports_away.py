"""Each report of `lab` with each service away: it says what it doesn't know, or the same as before.

The CLI's loop and its exit are tested elsewhere; here are the commands that only read, on one trained lab.
"""

import os
import re
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select
from typer.testing import CliRunner, Result

from mlops_lab.cli import app
from mlops_lab.cli.app import reading_lab
from mlops_lab.data.database import connect, now
from mlops_lab.data.log_tables import Prediction
from mlops_lab.data.tables import Batch, Model
from mlops_lab.model.waits import WAITS
from mlops_lab.settings import Settings
from tests.support.flats import FLATS
from tests.support.processes import away, silent_address

PREDICTION = "0197f0c0ffee" + "ab" * 10
ROW = {"area": 50, "floor": 2, "district": "north", "balcony": True, "built": "1990-05-15"}
COMMANDS = {
    "status": ("status", "flats"),
    "predict": ("predict", "flats"),
    "prediction": ("trace", PREDICTION),
    "batch": ("trace", "--batch", "1"),
    "monitor": ("monitor", "flats"),
    "clean": ("clean", "--dry-run"),
}
DATABASE, MLFLOW, BUCKET = (
    "unable to open database file",
    "MLflow fails",
    "the object store can't read payloads/flats",
)
# service → command → what it says instead; a command that isn't there says the same as with every service.
SAID: dict[str, dict[str, str]] = {
    "database": dict.fromkeys(COMMANDS, DATABASE)
    | {"status": "batches: unknown, the database can't be used"},
    "MLflow": {
        "status": "champion: unknown, MLflow fails",
        **dict.fromkeys(("predict", "prediction", "monitor", "clean"), MLFLOW),
    },
    "bucket": dict.fromkeys(("prediction", "batch"), BUCKET),
}
# What a command says when it knows that there is nothing.
NOTHING = (
    "\nno champion yet",
    "has no champion",
    "has no batch",
    "has no prediction",
    "there is no batch",
    "not counted",
    "nothing was served",
    "nothing is past its time",
    "Traceback",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory, templates) -> Path:
    """A lab after one batch, with one logged prediction."""
    home = tmp_path_factory.mktemp("away") / "lab"
    templates.copy_trained(home)
    raw = connect(Settings(home=home).raw_url)
    with raw.begin() as db:
        version, run = db.execute(select(Model.version, Model.run_id).limit(1)).one()
        entry = {"id": PREDICTION, "use_case": "flats", "version": version, "run_id": run, "request_id": "r"}
        db.execute(insert(Prediction).values(**entry, predicted_at=now(), row=ROW, prediction=640.5))
    raw.dispose()
    return home


@pytest.fixture
def run(home, flats_folder, monkeypatch):
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setenv("LAB_USE_CASES", str(flats_folder))
    monkeypatch.setenv("COLUMNS", "200")
    # A service that is asked although nothing should ask it makes a command fail.
    monkeypatch.setenv("LAB_DATA_API_URL", away())
    monkeypatch.setenv("LAB_INFERENCE_URL", away())

    def run(*command: str) -> Result:
        done = CliRunner().invoke(app, command)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    return run


@pytest.fixture(scope="module")
def usual(home) -> dict[str, str]:
    """Command → what it says with every service there. It is filled by the first test that needs it."""
    return {}


@pytest.mark.parametrize("service", ["database", "MLflow", "silent MLflow", "bucket"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_report_says_what_it_does_not_know(run, usual, monkeypatch, home, name, service):
    if name not in usual:
        # A second check of an unchanged lab says the same as the third.
        done = [run(*COMMANDS[name]) for _ in range(2 if name == "monitor" else 1)][-1]
        assert done.exit_code == 0, done.output
        usual[name] = done.stdout
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with silent_address() as silent:
        match service:
            case "database":
                monkeypatch.setenv("LAB_RAW_DB_URL", f"sqlite:///{home}/nowhere/RawData.db")
            case "MLflow":
                monkeypatch.setenv("LAB_MLFLOW_URL", away())
            case "silent MLflow":
                monkeypatch.setenv("LAB_MLFLOW_URL", f"http://{silent}")
                monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
            case "bucket":
                monkeypatch.setenv("LAB_ARTIFACTS_URL", "s3://api-artifacts")
                monkeypatch.setenv("LAB_S3_ENDPOINT", away())
                monkeypatch.setenv("LAB_S3_ACCESS_KEY", "nobody")
                monkeypatch.setenv("LAB_S3_SECRET_KEY", "nothing")
        done = run(*COMMANDS[name])
    expected = SAID[service.removeprefix("silent ")].get(name)
    if expected is None:
        assert (done.exit_code, done.stdout) == (0, usual[name])
        return
    assert expected in done.output
    # A payload that can't be read is one fact of many.
    assert done.exit_code == (0 if service == "bucket" else 1)
    assert len(done.stderr.splitlines()) == done.exit_code
    for nothing in NOTHING:
        assert nothing not in done.output, done.output


def test_a_person_waits_for_mlflow_less_than_the_loop_does(run, monkeypatch):
    for name, (usual, brief) in WAITS.items():
        monkeypatch.setenv(name, usual)
        with reading_lab():
            assert os.environ[name] == brief
        assert os.environ[name] == usual
        monkeypatch.setenv(name, "7")
        with reading_lab():
            assert os.environ[name] == "7"


def test_a_registry_that_is_away_is_asked_for_one_use_case_only(run, course, monkeypatch, tmp_path):
    for name in ("flats", "houses", "sheds"):
        (tmp_path / f"{name}.py").write_text(FLATS.replace('name="flats"', f'name="{name}"'))
    monkeypatch.setenv("LAB_USE_CASES", str(tmp_path))
    monkeypatch.setenv("LAB_MLFLOW_URL", course.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    course.will_answer((500, b"<html>"))
    said = run("status").stdout
    assert said.count("champion: unknown, MLflow fails") == 3
    assert len(course.asked) == 1


def test_a_batch_that_is_not_counted_yet_is_not_one_without_rows(run, home):
    with connect(Settings(home=home).raw_url).begin() as db:
        values = {
            "use_case": "flats",
            "batch_number": 2,
            "digest": "d" * 64,
            "payload": "payloads/flats/gone",
        }
        made = db.execute(
            insert(Batch).values(**values, source="test", state="landed", landed_at=now(), gap=0)
        )
        [number] = made.inserted_primary_key
    try:
        assert (
            f"(ledger {number}, landed): rows not counted yet" in run("trace", "--batch", str(number)).stdout
        )
        said = " ".join(run("status", "flats").stdout.split())
        # In a table, or in lines of its own where the terminal is narrow.
        assert re.search(r"2 landed –( received,)? –( quarantined,)? –", said), said
    finally:
        with connect(Settings(home=home).raw_url).begin() as db:
            db.execute(delete(Batch).where(Batch.id == number))
