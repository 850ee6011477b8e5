"""A backup of an embedded lab: whole, checked, and restored to the same champion, history and answers."""

import json
import sqlite3
from pathlib import Path

import pytest

from mlops_lab.lab import Lab
from mlops_lab.local.backup import BackupError, backup, restore
from mlops_lab.loop import run_batch
from mlops_lab.status import status
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")


def quiet(_: str) -> None:
    pass


def at(lab: Lab, home: Path) -> Lab:
    """The same lab with another LAB_HOME."""
    return Lab(lab.settings.model_copy(update={"home": home}), quiet)


def example(lab: Lab) -> list:
    """The champion's prediction for the example of its contract."""
    predictor = lab.predictor(lab.champion("flats"))
    return predictor.predict([predictor.contract.example]).values


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A backup of the trained lab, with a spooled prediction, a secret and a log file in its home."""
    home = trained.settings.home
    for name in ("spool/replica/1.jsonl", "secrets/reload_token", "logs/inference.log"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (home / "secrets" / "reload_token").chmod(0o600)
    backup(trained.settings, tmp_path / "backup", quiet)
    return tmp_path / "backup"


def test_a_restored_lab_has_the_same_history_and_answers_and_goes_on(
    trained, use_case, course, folder, tmp_path
):
    restored = at(trained, tmp_path / "elsewhere" / "lab")
    restore(restored.settings, folder, quiet)
    home = restored.settings.home
    assert (home / "spool" / "replica" / "1.jsonl").read_text() == "spool/replica/1.jsonl"
    assert (home / "secrets" / "reload_token").stat().st_mode & 0o777 == 0o600
    assert not (home / "logs").exists()
    before, expected = status(trained, "flats"), example(trained)
    # Nothing in the restored lab names the other home.
    trained.settings.home.rename(tmp_path / "gone")
    assert status(restored, "flats") == before
    assert example(restored) == expected
    course.will_answer(batch(2, flats(600, seed=4)), END)
    assert run_batch(restored, use_case).outcome is not None


def test_a_backup_while_the_lab_writes_is_consistent(trained, tmp_path):
    with sqlite3.connect(trained.settings.home / "RawData.db") as writing:
        writing.execute("DELETE FROM models")  # not committed
        backup(trained.settings, tmp_path / "backup", quiet)
        writing.rollback()
    writing.close()
    with sqlite3.connect(tmp_path / "backup" / "home" / "RawData.db") as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM models").fetchone() == (2,)
    copy.close()


def test_nothing_is_overwritten(trained, folder, tmp_path):
    with pytest.raises(BackupError, match="has files; set LAB_HOME to a new folder"):
        restore(trained.settings, folder, quiet)
    with pytest.raises(BackupError, match="exists; name a new folder"):
        backup(trained.settings, folder, quiet)
    with pytest.raises(BackupError, match="is inside the lab"):
        backup(trained.settings, trained.settings.home / "backup", quiet)
    with pytest.raises(BackupError, match="there is no lab in"):
        backup(at(trained, tmp_path / "nothing").settings, tmp_path / "new", quiet)


def cut(folder: Path) -> None:
    path = folder / "home" / "CleanData.db"
    path.write_bytes(path.read_bytes()[:-1])


def flip(folder: Path) -> None:
    path = next((folder / "home").rglob("model.onnx"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose(folder: Path) -> None:
    next((folder / "home" / "api-artifacts").rglob("*.json")).unlink()


def unlist(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


def of_the_future(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"revision": "9999"}))


@pytest.mark.fault
@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (cut, "home/CleanData.db was changed"),
        (flip, "model.onnx was changed"),
        (lose, "is missing"),
        (unlist, "is no backup of a lab"),
        (of_the_future, "made by a newer release"),
    ],
)
def test_a_damaged_backup_is_refused_before_anything_is_written(trained, folder, tmp_path, damage, fault):
    damage(folder)
    home = tmp_path / "elsewhere"
    with pytest.raises(BackupError, match=fault):
        restore(at(trained, home).settings, folder, quiet)
    assert not home.exists()
