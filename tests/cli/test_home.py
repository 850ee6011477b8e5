"""Where the lab of a command is: `.lab` here or in a folder above, and no empty one for a question."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mlops_lab.cli import app
from mlops_lab.settings import Settings


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The working folder, in a folder of its own, with no variable that points to a lab."""
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "project" / "notes"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def lab(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status, (done.output, done.exception)
    return done


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status --json",
        "predict housing",
        "check housing",
        "rollback housing",
        "reset housing --yes",
    ],
)
def test_a_question_without_a_lab_makes_no_empty_one(here, command):
    done = lab(*command.split(), status=1)
    assert done.stderr.startswith(f"error: there is no lab in {here} or above it; ")
    assert "set LAB_HOME; `make demo` and `lab run NAME` begin one" in done.stderr
    assert list(here.iterdir()) == []


def test_the_lab_of_a_folder_above_is_found_and_named(here):
    above = here.parent / ".lab"
    above.mkdir()
    done = lab("use-cases")
    assert done.stderr == f"the lab in {above}\n"
    assert Settings().home == above
    assert list(here.iterdir()) == []
    (here / ".lab").mkdir()
    assert Settings().home == Path(".lab")  # the nearest one


def test_the_lab_of_another_user_above_is_none(here, monkeypatch):
    (here.parent / ".lab").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 987_654)
    assert Settings().home == Path(".lab")


@pytest.mark.parametrize("number", ["0", "-1"])
@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_number_of_batches_is_at_least_one(here, command, number):
    assert "--batches" in lab(command, "housing", "--batches", number, status=2).stderr
