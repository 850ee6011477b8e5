"""`lab keys new`: a key that is shown once, and the line with its hash that a service accepts."""

import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from inference.settings import InferenceSettings
from mlops_lab.cli import app


def make(*arguments: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, ["keys", "new", *arguments])
    assert done.exit_code == status, (done.output, done.exception)
    return done


def test_a_new_key_is_accepted_with_the_rights_that_were_asked_for():
    done = make("ana", "--may", "predict,read")
    key, line = done.stdout.strip(), done.stderr.strip().rpartition(": ")[2]
    assert len(key) == 43
    assert key not in done.stderr
    [found] = [InferenceSettings(api_keys=line).keys().find(key)]
    assert (found.name, found.rights) == ("ana", {"predict", "read"})
    assert make("ana").stdout.strip() != key


def test_a_file_collects_keys_that_only_its_owner_reads(tmp_path):
    file = tmp_path / "lists" / "keys"
    made = [make(name, "--file", str(file)).stdout.strip() for name in ("ana", "ben")]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [key for key in made if key in file.read_text()]
    keys = InferenceSettings(api_keys_file=file).keys()
    assert [(keys.find(key).name, keys.find(key).rights) for key in made] == [
        ("ana", {"predict"}),
        ("ben", {"predict"}),
    ]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["a b"], "a name has at most 40 letters"),
        (["ana", "--may", "write"], "the rights are predict and read"),
        (["ana", "--may", ""], "the rights are predict and read"),
        (["ben", "--file", "{file}"], "line 2: the name is used before"),
        (["ana", "--file", "{file}/keys"], "File exists"),
    ],
)
def test_what_a_list_can_not_have_is_one_line_and_changes_no_file(tmp_path: Path, arguments, fault):
    file = tmp_path / "keys"
    make("ben", "--file", str(file))
    before = file.read_bytes()
    done = make(*(a.format(file=file) for a in arguments), status=1)
    assert fault in done.stderr.replace("\n", " ")
    assert not done.stdout
    assert file.read_bytes() == before
