"""The command `lab`: its output and exit status. Most tests call it in this process, some start a real one."""

import json
import os
import re
import signal
import socket
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from mlops_lab.cli import app
from mlops_lab.data.database import connect
from mlops_lab.data.log_tables import Prediction
from mlops_lab.data.turns import Turns
from mlops_lab.local import signals
from mlops_lab.local.processes import free_ports
from mlops_lab.steps.ingest import validate
from tests.support.data_api import END
from tests.support.flats import FLATS, batch, flats, splits
from tests.support.processes import LAB

ROW = {"area": 50, "floor": 2, "district": "north", "balcony": True, "built": "1990-05-15"}


@pytest.fixture
def use_cases(tmp_path) -> Path:
    folder = tmp_path / "use_cases"
    folder.mkdir()
    (folder / "flats.py").write_text(FLATS)
    return folder


@pytest.fixture
def environment(tmp_path, use_cases, course, templates, without_pictures, monkeypatch) -> None:
    templates.copy_empty(tmp_path / "lab")
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    monkeypatch.setenv("LAB_USE_CASES", str(use_cases))
    monkeypatch.setenv("LAB_DATA_API_URL", course.url)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def run(environment):
    runner = CliRunner()

    def _run(*arguments: str, status: int = 0, text: str | None = None) -> Result:
        done = runner.invoke(app, arguments, input=text)
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return _run


@pytest.mark.slow
def test_the_loop_runs_to_the_end_of_the_data_and_its_results_can_be_read(run, course, tmp_path):
    course.will_answer(batch(1, flats(400)), batch(2, flats(400, seed=1)), END)
    printed = run("run", "flats").stdout
    for words in ("batch 1 landed", "400 rows received", "promoted", "no further batch: all batches are out"):
        assert words in printed

    status = json.loads(run("status", "flats", "--json").stdout)[0]
    assert status["champion"]["test"] < status["champion"]["baseline"]
    assert status["champion"]["batches"] in (1, 2)
    assert [entry["state"] for entry in status["batches"]] == ["done", "done"]
    assert "champion: version" in run("status").stdout

    predictions = json.loads(run("predict", "flats", json.dumps(ROW), "--json").stdout)["predictions"]
    assert 300 < predictions[0] < 900
    twice = run("predict", "flats", "-", "--json", text=json.dumps([ROW, ROW])).stdout
    assert json.loads(twice)["predictions"] == predictions * 2
    many = run("predict", "flats", json.dumps([ROW] * 20), "--json").stdout
    assert json.loads(many)["predictions"] == predictions * 20
    (tmp_path / "row.json").write_text(json.dumps(ROW))
    stored = run("predict", "flats", str(tmp_path / "row.json"), "--json").stdout
    assert json.loads(stored)["predictions"] == predictions
    assert "EUR" in run("predict", "flats").stdout

    assert "area must be at least 5, not 1" in run("predict", "flats", '{"area": 1}', status=1).stderr
    assert "aren't JSON" in run("predict", "flats", "{area", status=1).stderr

    before = status["champion"]["version"]
    assert "requested by hand" in run("train", "flats", "--force").stdout
    after = json.loads(run("status", "flats", "--json").stdout)[0]["champion"]["version"]
    assert after > before
    assert f"version {before} is the champion" in run("rollback", "flats").stdout
    trial = f"canary {after} against {before} share 0.1"
    assert trial in run("trial", "flats", str(after), "--canary", "0.1").stdout
    assert f"trial: {trial}" in run("status", "flats").stdout
    assert "with --shadow or --canary" in run("trial", "flats", str(after), status=1).stderr
    assert "belong together" in run("promote", "flats", str(after), "--force", status=1).stderr
    promoted = run("promote", "flats", str(after), "--force", "--reason", "it was tried").stdout
    forced = rf"version {after} is the champion of flats: forced by \S+: it was tried; the comparison"
    assert re.search(forced, promoted)
    assert run("trial", "flats").stdout.strip() == "flats has no trial"

    course.will_answer((200, {"ok": True}))
    assert "was reset" in run("reset", "flats", "--yes").stdout
    assert json.loads(run("status", "flats", "--json").stdout)[0]["champion"] is None


def test_a_batch_without_rows_or_without_a_shape_costs_that_batch_alone(run, course, tmp_path):
    html, empty = (200, b"<html>[busy]</html>"), batch(2, [])
    course.will_answer(html, batch(1, flats(60)), empty, batch(3, flats(60)[:20]), END)
    printed = run("run", "flats", "--batches", "4").stdout
    assert "broken: the payload isn't JSON" in printed
    entries = json.loads(run("status", "flats", "--json").stdout)[0]
    states = [(entry["batch_number"], entry["state"], entry["stored"]) for entry in entries["batches"]]
    assert states == [(None, "broken", None), (1, "done", 60), (2, "done", 0), (3, "done", 20)]
    assert entries["champion"] is not None

    assert "flats has no broken or held batch 7" in run("retry", "flats", "--batch", "7", status=1).stderr
    assert json.loads(run("retry", "flats", "--json").stdout) == {"opened": 1}
    again = run("run", "flats", "--json")
    assert "broken: the payload isn't JSON" in again.stderr
    assert json.loads(again.stdout)["champion"] == entries["champion"]
    # Nobody else on this machine may read the rows.
    home = tmp_path / "lab"
    assert all(
        (home / name).stat().st_mode & 0o077 == 0 for name in ("RawData.db", "CleanData.db", "incoming")
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_python_drops_still_ends_the_command(run, course, monkeypatch):
    class Dropped:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigpending()

    def interrupted(*arguments):
        Dropped()
        validate(*arguments)

    before = {number: signal.getsignal(number) for number in signals.STOPS}
    for name in ("_first", "_installed"):
        monkeypatch.setattr(signals, name, getattr(signals, name))
    monkeypatch.setattr("mlops_lab.loop.validate", interrupted)
    course.will_answer(batch(1, flats(60)), END)
    try:
        ended = run("run", "flats", status=130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.stderr.strip() == "stopped"
    assert "received" not in ended.stdout


def test_a_server_that_always_sends_broken_payloads_is_not_asked_for_ever(run, course):
    course.will_answer(*((200, f"<html>{n}</html>".encode()) for n in range(9)), batch(1, flats(60)))
    [line] = run("run", "flats", status=1).stderr.splitlines()
    assert line.startswith(
        "error: the newest 5 batches of flats brought no row; `lab status flats` has the reasons"
    )
    assert len(course.asked) == 5
    run("run", "flats", status=1)
    assert len(course.asked) == 6


def test_without_test_rows_there_is_no_first_champion_and_the_reason_is_printed(run, course):
    rows = [row for row, split in zip(flats(80), splits(flats(80)), strict=True) if split != "test"]
    course.will_answer(batch(1, rows[:44]), END)
    printed = run("run", "flats", status=1).stdout
    assert "decision: skip, there are no test rows yet; it takes more data" in printed
    assert "no champion yet" in printed
    assert "nan" not in printed
    # By hand the candidates are trained, but none of them is promoted.
    assert "there are no test rows yet, so its error is unknown" in run("train", "flats", "--force").stdout
    [entry] = json.loads(run("status", "flats", "--json").stdout)
    assert (entry["champion"], entry["versions"], entry["batches"][0]["state"]) == (None, 2, "done")


def test_errors_are_one_clear_line(run, course, tmp_path):
    course.will_answer(END)
    assert "there is no use case 'houses'; there are flats" in run("run", "houses", status=1).stderr
    assert "has no champion yet; run `lab run flats`" in run("predict", "flats", status=1).stderr
    assert "has no batch yet" in run("train", "flats", "--force", status=1).stderr
    assert "no previous champion" in run("rollback", "flats", status=1).stderr
    with Turns(tmp_path / "lab" / "incoming").hold("flats"):
        for command in ("run", "train"):
            [line] = run(command, "flats", status=1).stderr.splitlines()
            assert line.startswith(f"error: another process (pid {os.getpid()}) works on flats")
    for fault in (run("run", "houses", status=1), run("predict", "flats", status=1)):
        assert len(fault.stderr.strip().splitlines()) == 1


def test_faults_of_mlflow_and_of_the_disk_are_one_line_and_the_traceback_is_there_on_request(
    run, monkeypatch, tmp_path
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("LAB_MLFLOW_URL", "http://127.0.0.1:9")
    away = run("status", status=1).stderr.splitlines()
    assert len(away) == 1
    assert away[0].startswith("error: MLflow fails: ")
    monkeypatch.setenv("LAB_DEBUG", "1")
    assert "Traceback" in run("status", status=1).stderr
    monkeypatch.delenv("LAB_DEBUG")

    (tmp_path / "file").touch()
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "file"))
    for command in ("status", "run", "predict", "demo"):
        [line] = run(command, "flats", status=1).stderr.splitlines()
        assert line.startswith(f"error: {tmp_path / 'file'}")


def test_the_status_says_what_it_does_not_know(run, templates, tmp_path, monkeypatch):
    templates.copy_trained(tmp_path / "trained")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "trained"))
    # It asks neither the Data API nor the service.
    monkeypatch.setenv("LAB_DATA_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LAB_INFERENCE_URL", "http://127.0.0.1:9")
    [whole] = json.loads(run("status", "--json").stdout)
    assert whole["unknown"] == {}

    def away(variable: str, address: str) -> tuple[dict, str]:
        with monkeypatch.context() as patch:
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            patch.setenv(variable, address)
            [entry] = json.loads(run("status", "--json", status=1).stdout)
            return entry, run("status", status=1).stdout

    entry, printed = away("LAB_MLFLOW_URL", "http://127.0.0.1:9")
    assert entry["unknown"].keys() == {"versions", "champion"}
    assert (entry["versions"], entry["champion"]) == (None, None)
    assert entry["batches"] == whole["batches"]
    assert "champion: unknown, MLflow fails" in printed
    assert "\nno champion yet" not in printed

    entry, printed = away("LAB_RAW_DB_URL", f"sqlite:///{tmp_path}/nowhere/RawData.db")
    # Without its record a champion can't be trusted, so its scores aren't told.
    assert entry["unknown"].keys() == {"batches", "champion"}
    assert (entry["batches"], entry["champion"]) == (None, None)
    assert entry["versions"] == whole["versions"]
    assert "batches: unknown, " in printed


def test_rows_that_cannot_be_read_are_one_line(run, templates, tmp_path, monkeypatch):
    templates.copy_trained(tmp_path / "trained")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "trained"))
    (tmp_path / "rows.gz").write_bytes(b"\x1f\x8b\xff")
    faults = {
        "nothing.json": "there is no file nothing.json; rows are a JSON object or list",
        str(tmp_path / "rows.gz"): "isn't a text file",
        str(tmp_path): "Is a directory",
        "x" * 300: "File name too long",
        json.dumps(ROW)[:-1]: "the rows aren't JSON",
    }
    for rows, fault in faults.items():
        [line] = run("predict", "flats", rows, status=1).stderr.splitlines()
        assert fault in line
    wide = json.dumps(ROW | {"built": None} | {f"feature_{n}": n for n in range(40)})
    assert "feature_0" in run("predict", "flats", wide, status=1).stderr


def test_what_is_past_its_time_is_printed_and_deleted(run, tmp_path, monkeypatch):
    assert "nothing is past its time" in run("clean").stdout
    raw = connect(f"sqlite:///{tmp_path}/lab/RawData.db")
    entry = {"id": "0" * 32, "use_case": "flats", "version": 1, "run_id": "r", "request_id": "q"}
    with raw.begin() as db:
        db.execute(
            insert(Prediction).values(**entry, predicted_at=datetime(2020, 1, 1), row={}, prediction=1)
        )
    raw.dispose()
    monkeypatch.setenv("LAB_PREDICTIONS_DAYS", "0")
    assert "nothing" in run("clean").stdout
    monkeypatch.setenv("LAB_PREDICTIONS_DAYS", "7")
    row = ["flats", "predictions", "1", "7", "days", "LAB_PREDICTIONS_DAYS"]
    for arguments, title in (["--dry-run"], "would be deleted"), ([], "deleted"):
        titles, line = run("clean", *arguments).stdout.splitlines()
        assert title in titles
        assert line.split() == row
    assert "nothing" in run("clean").stdout


def test_a_wrong_setting_is_one_line_and_status_2(run, monkeypatch):
    monkeypatch.setenv("LAB_DATA_API_TIMEOUT", "soon")
    for arguments in (["status"], ["run", "flats"], ["use-cases"], ["data", "download"]):
        errors = run(*arguments, status=2).stderr.splitlines()
        assert len(errors) == 1
        assert errors[0].startswith("error: setting LAB_DATA_API_TIMEOUT: ")


def test_a_broken_use_case_file_is_named_and_the_others_are_listed(run, use_cases):
    (use_cases / "broken.py").write_text("import nothing_like_this\n")
    (use_cases / "empty.py").write_text("x = 1\n")
    done = run("use-cases")
    assert "flats" in done.stdout
    assert "broken.py can't be used: line 1: ModuleNotFoundError: No module named 'nothing" in done.stderr
    assert "it sets no USE_CASE = UseCase(...)" in done.stderr
    assert "broken.py can't be used" in run("run", "broken", status=1).stderr


@pytest.mark.process
def test_without_a_data_api_the_command_starts_one_for_itself(run, tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_DATA_API_URL")
    monkeypatch.setenv("LAB_DATA_API_PORT", str(free_ports(1)[0]))
    folder = tmp_path / "lab" / "data"
    folder.mkdir(parents=True)
    lines = ["area,floor,district,balcony,built,rent", *(",".join(map(str, row)) for row in flats(400))]
    (folder / "flats.csv").write_text("\n".join(lines) + "\n")
    done = run("run", "flats", "--batches", "1")
    assert "started one for this command" in done.stdout
    assert "champion: version" in done.stdout
    assert done.stderr == ""


@pytest.mark.process
def test_a_real_process_ends_with_the_same_status_and_no_traceback(environment):
    done = subprocess.run([LAB, "predict", "houses"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no use case 'houses'; there are flats")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_one_word_and_status_130(environment, monkeypatch, number):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("LAB_DATA_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/{{dataset}}")
        command = [LAB, "run", "flats"]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job ignores SIGINT, and so do its children: these tests may be run by one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        connection.close()
    assert (process.returncode, errors.strip()) == (130, "stopped")
