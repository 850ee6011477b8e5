"""The command `lab`, as a person runs it: its own process, its exit status, what it prints."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.flats import FLATS, batch, flats

LAB = str(Path(sys.executable).parent / "lab")
END = (400, {"detail": "all batches are out"})


@pytest.fixture
def run(tmp_path, course):
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "flats.py").write_text(FLATS)
    env = os.environ | {
        "LAB_HOME": str(tmp_path / "lab"),
        "LAB_USE_CASES": str(folder),
        "LAB_DATA_API_URL": course.url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "COLUMNS": "200",
    }

    def _run(*arguments: str, status: int = 0, text: str | None = None) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [LAB, *arguments], env=env, input=text, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done

    _run.folder = folder
    return _run


def test_the_loop_runs_to_the_end_of_the_data_and_can_be_asked_about(run, course):
    course.will_answer(batch(1, flats(400)), batch(2, flats(400, seed=1)), END)
    said = run("run", "flats").stdout
    for words in ("batch 1 landed", "400 rows received", "promoted", "no further batch: all batches are out"):
        assert words in said

    status = json.loads(run("status", "flats", "--json").stdout)[0]
    assert status["champion"]["test"] < status["champion"]["baseline"]
    assert [entry["state"] for entry in status["batches"]] == ["done", "done"]
    assert "champion: version" in run("status").stdout

    row = {"area": 50, "floor": 2, "district": "north", "balcony": True, "built": "1990-05-15"}
    predictions = json.loads(run("predict", "flats", json.dumps(row), "--json").stdout)["predictions"]
    assert 300 < predictions[0] < 900
    assert (
        json.loads(run("predict", "flats", "-", "--json", text=json.dumps([row, row])).stdout)["predictions"]
        == [predictions[0]] * 2
    )
    assert "EUR" in run("predict", "flats").stdout

    assert "area must be at least 5, not 1" in run("predict", "flats", '{"area": 1}', status=1).stderr
    assert "aren't JSON" in run("predict", "flats", "{area", status=1).stderr

    before = status["champion"]["version"]
    assert "asked for by hand" in run("train", "flats", "--force").stdout
    after = json.loads(run("status", "flats", "--json").stdout)[0]["champion"]["version"]
    assert after > before
    assert f"version {before} is the champion" in run("rollback", "flats").stdout

    course.will_answer((200, {"ok": True}))
    assert "begins anew" in run("reset", "flats", "--yes").stdout
    assert json.loads(run("status", "flats", "--json").stdout)[0]["champion"] is None


def test_errors_are_one_clear_line(run, course):
    course.will_answer(END)
    assert "there is no use case 'houses'; there are flats" in run("run", "houses", status=1).stderr
    assert "has no champion yet; run `lab run flats`" in run("predict", "flats", status=1).stderr
    assert "has no batch yet" in run("train", "flats", "--force", status=1).stderr
    assert "no previous champion" in run("rollback", "flats", status=1).stderr
    for fault in (run("run", "houses", status=1), run("predict", "flats", status=1)):
        assert len(fault.stderr.strip().splitlines()) == 1


def test_a_broken_use_case_file_is_named_and_the_others_go_on(run):
    (run.folder / "broken.py").write_text("import nothing_like_this\n")
    (run.folder / "empty.py").write_text("x = 1\n")
    done = run("use-cases")
    assert "flats" in done.stdout
    assert "broken.py can't be used: ModuleNotFoundError: No module named 'nothing_like_this'" in done.stderr
    assert "it sets no USE_CASE = UseCase(...)" in done.stderr
    assert "broken.py can't be used" in run("run", "broken", status=1).stderr


def test_without_a_data_api_the_command_starts_one_for_itself(tmp_path):
    env = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
    env |= {"LAB_HOME": str(tmp_path / "lab"), "LAB_DATOS_SCALE": "0.01", "LAB_DATA_API_PORT": "18993"}
    done = subprocess.run(
        [LAB, "run", "housing", "--batches", "1"], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "started one for this command" in done.stdout
    assert "champion: version" in done.stdout
    assert done.stderr == ""
