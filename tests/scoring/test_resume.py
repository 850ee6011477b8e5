"""A scoring that was killed, had a full disk or found another file: its result is that of an undisturbed run."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mlops_lab.errors import LabError, ServiceError
from mlops_lab.scoring import part
from mlops_lab.scoring.scorer import score
from mlops_lab.settings import REPOSITORY
from tests.scoring.files import VERSION, Run, bytes_of, frame, write

ROWS = frame(450).assign(area=lambda rows: rows["area"].where(rows.index % 90 != 7, -1))
# In a process of its own: each folder is scored by a child of it, which kills itself at the named place.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from mlops_lab.scoring import part, scorer
from mlops_lab.model.predictor import Predictor

scorer.CHUNK = 100

def dying(function, calls):
    left = [calls]
    def call(*arguments, **named):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return call

def die(place):
    if place == "between two chunks":
        part.Part.add = dying(part.Part.add, 3)
    elif place == "between the rows and their record":
        part.Part._put = dying(part.Part._put, 3)
    elif place == "before the first record":
        part.Part._put = dying(part.Part._put, 0)
    elif place == "before the files are moved":
        scorer._finish = dying(scorer._finish, 0)
    elif place == "between the two files":
        Path.replace = dying(Path.replace, 8)
    elif place == "before the folder is removed":
        part.Part.remove = dying(part.Part.remove, 0)

model, source, targets, version = map(json.loads, sys.argv[1:])
for place, target in targets:
    if (child := os.fork()) == 0:
        die(place)
        scorer.score(Predictor.load(Path(model)), SimpleNamespace(**version), Path(source), Path(target))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, place
"""
# With the row that the next run goes on after; 0: it begins anew.
PLACES = {
    "before the first record": 0,
    "between two chunks": 200,
    "between the rows and their record": 200,
    "before the files are moved": 450,
    "between the two files": 0,
    "before the folder is removed": 0,
}
TARGETS = [(place, name) for place in PLACES for name in ("out.csv", "out.parquet")]


@pytest.fixture(scope="module")
def killed(built, tmp_path_factory) -> Path:
    """A folder with what each kill left, and the file of rows."""
    folder = tmp_path_factory.mktemp("killed")
    write(ROWS, folder / "rows.csv")
    targets = []
    for place, name in TARGETS:
        (folder / place).mkdir(exist_ok=True)
        targets.append((place, str(folder / place / name)))
    arguments = str(built / "houses"), str(folder / "rows.csv"), targets, asdict(VERSION)
    subprocess.run(
        [sys.executable, "-c", KILLED, *map(json.dumps, arguments)],
        check=True,
        timeout=200,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    return folder


@pytest.fixture
def whole(predictors, tmp_path):
    """The files of an undisturbed run, by their names."""

    def make(source: Path, name: str, run: Run | None = None) -> dict[str, bytes]:
        (tmp_path / "whole").mkdir(exist_ok=True)
        (run or Run(predictors["houses"]))(source, tmp_path / "whole" / name)
        return bytes_of(tmp_path / "whole")

    return make


@pytest.mark.process
@pytest.mark.fault
@pytest.mark.parametrize(("place", "name"), TARGETS)
def test_after_a_kill_the_result_is_that_of_an_undisturbed_run(killed, run, whole, place, name):
    source, folder = killed / "rows.csv", killed / place
    if PLACES[place] or place == "before the first record":
        assert not (folder / name).exists()
    done = run(source, folder / name)
    assert (done.rows, done.refused) == (445, 5)
    goes_on = [f"goes on after row {PLACES[place]}, where an earlier run ended"] if PLACES[place] else []
    assert [line for line in run.said if line.startswith("goes on")] == goes_on
    found = {file: content for file, content in bytes_of(folder).items() if file.startswith(name)}
    assert found == whole(source, name)


def stopped(run: Run, source: Path, target: Path) -> None:
    """Ends the run by Ctrl-C after 200 rows."""

    def report(standing):
        if standing.rows == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(run.predictor, run.version, source, target, report)
    assert target.with_name(f"{target.name}.part").is_dir()


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_a_run_goes_on_in_every_form_of_file(run, whole, tmp_path, name):
    source, folder = write(ROWS, tmp_path / name), tmp_path / "out"
    folder.mkdir()
    stopped(run, source, folder / "out.csv")
    # What may stand behind the last recorded row after a power failure.
    for file in part.FILES:
        with (folder / "out.csv.part" / file).open("ab") as written:
            written.write(bytes(50_000))
    run(source, folder / "out.csv")
    assert run.said == ["goes on after row 200, where an earlier run ended"]
    # Only what was left is reported again.
    assert [standing.rows for standing in run.reported if standing.rows is not None] == [300, 400, 450]
    assert bytes_of(folder) == whole(source, "out.csv")


def change_rows(source: Path, folder: Path) -> None:
    write(ROWS.assign(rooms=3), source)


def cut_record(source: Path, folder: Path) -> None:
    record = folder / "out.csv.part" / part.RECORD
    record.write_bytes(record.read_bytes()[:-20])


def empty_record(source: Path, folder: Path) -> None:
    (folder / "out.csv.part" / part.RECORD).write_text('{"rows": 100}')


def cut_predictions(source: Path, folder: Path) -> None:
    os.truncate(folder / "out.csv.part" / part.PREDICTIONS, 500)


def change_refused(source: Path, folder: Path) -> None:
    refused = folder / "out.csv.part" / part.REFUSED
    refused.write_bytes(refused.read_bytes().replace(b"area", b"arEa"))


def lose_predictions(source: Path, folder: Path) -> None:
    (folder / "out.csv.part" / part.PREDICTIONS).unlink()


DAMAGES = {
    change_rows: "the input is another one than when it was begun",
    cut_record: "its record is damaged",
    empty_record: "its record is damaged",
    cut_predictions: "its record is damaged",
    change_refused: "its record is damaged",
    lose_predictions: "its record is damaged",
}


@pytest.mark.fault
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_progress_that_does_not_count_is_said_and_begun_anew(run, whole, tmp_path, damage):
    source, folder = write(ROWS, tmp_path / "rows.csv"), tmp_path / "out"
    folder.mkdir()
    stopped(run, source, folder / "out.csv")
    damage(source, folder)
    run(source, folder / "out.csv")
    assert run.said == [f"an earlier progress doesn't count, because {DAMAGES[damage]}: it begins anew"]
    assert bytes_of(folder) == whole(source, "out.csv")


def test_another_version_begins_anew(run, whole, tmp_path):
    source, folder = write(ROWS, tmp_path / "rows.csv"), tmp_path / "out"
    folder.mkdir()
    stopped(run, source, folder / "out.csv")
    newer = Run(run.predictor, replace(VERSION, version=8, digest="e" * 64))
    assert newer(source, folder / "out.csv").version == 8
    assert "because the model is another one" in newer.said[0]
    found = bytes_of(folder)
    assert found == whole(source, "out.csv", Run(run.predictor, newer.version))
    # Neither the version nor an id is that of the version before.
    ids = {line.split(b",")[1] for line in found["out.csv"].splitlines()}
    before = {line.split(b",")[1] for line in whole(source, "out.csv")["out.csv"].splitlines()}
    assert ids & before == {b"prediction_id"}


@pytest.mark.fault
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("call", range(1, 8))
def test_after_a_full_disk_it_goes_on(run, whole, tmp_path, monkeypatch, name, call):
    source, folder = write(ROWS, tmp_path / "rows.csv"), tmp_path / "out"
    folder.mkdir()
    calls, real = iter(range(1, 1000)), os.fsync

    def full(descriptor):
        if next(calls) == call * 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device") as raised:
            run(source, folder / name)
    assert raised.value.filename.startswith(str(folder / f"{name}.part"))
    run(source, folder / name)
    assert bytes_of(folder) == whole(source, name)


def test_a_file_that_changes_meanwhile_is_refused(run, tmp_path):
    source = write(ROWS, tmp_path / "rows.csv")
    with pytest.raises(LabError, match=r"rows\.csv was changed while it was read; run again"):
        score(run.predictor, VERSION, source, tmp_path / "out.csv", lambda _: os.utime(source, (0, 0)))
    assert sorted(bytes_of(tmp_path)) == ["rows.csv"]


def test_two_runs_do_not_write_one_file(run, tmp_path):
    source, target = write(ROWS, tmp_path / "rows.csv"), tmp_path / "out.csv"
    there = pytest.raises(ServiceError, match=r"another process writes into .*out\.csv\.part")
    with part.held(tmp_path / "out.csv.part", {}), there:
        run(source, target)
    assert run(source, target).rows == 445
