"""MLflow's SQLite file: whole or not there, whoever is killed or comes at the same time."""

import json
import sqlite3
import subprocess
import sys

import pytest

from mlops_lab.errors import ServiceError
from mlops_lab.model.registry import Registry

# In a process of its own, without threads: a fork of the tests' process may keep a lock that nobody releases.
KILLED_AND_TOGETHER = """
import json, multiprocessing, os, pathlib, signal, sys, time
from mlops_lab.model.registry import Registry

folder = pathlib.Path(sys.argv[1])
fork = multiprocessing.get_context("fork")

def use():
    Registry(f"sqlite:///{folder}/mlflow.db").client.search_experiments()

killed = fork.Process(target=use)
killed.start()
while not (folder / "mlflow.db.part").exists():
    assert killed.is_alive()
    time.sleep(0.02)
os.kill(killed.pid, signal.SIGKILL)
killed.join()
found = [(folder / "mlflow.db").exists()]
both = [fork.Process(target=use, daemon=True) for _ in range(2)]
for process in both:
    process.start()
for process in both:
    process.join(60)
print("RESULT" + json.dumps([found[0], [process.exitcode for process in both]]))
"""

KILLED_IN_A_WRITE = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")  # so the file has a part of the transaction
db.execute("BEGIN")
db.execute("CREATE TABLE part (text)")
db.executemany("INSERT INTO part VALUES (?)", [("x" * 5000,)] * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def use(url: str) -> None:
    Registry(url).client.search_experiments()


@pytest.mark.fault
@pytest.mark.process
def test_a_killed_first_command_and_two_at_once_leave_a_whole_file(tmp_path):
    command = [sys.executable, "-c", KILLED_AND_TOGETHER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    after_the_kill, statuses = json.loads(done.stdout.partition("RESULT")[2])
    assert not after_the_kill
    assert statuses == [0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    use(f"sqlite:///{tmp_path}/mlflow.db")


@pytest.mark.fault
@pytest.mark.process
def test_a_kill_in_the_midst_of_a_write_is_set_right_by_the_next_command(tmp_path, templates):
    templates.copy_empty(tmp_path / "lab")
    file = tmp_path / "lab" / "mlflow.db"
    subprocess.run([sys.executable, "-c", KILLED_IN_A_WRITE, str(file)], timeout=60)
    assert file.with_name("mlflow.db-journal").stat().st_size > 0
    use(f"sqlite:///{file}")
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT * FROM sqlite_master WHERE name = 'part'").fetchall() == []
    db.close()


@pytest.mark.parametrize(
    "left",
    [
        [],
        ["CREATE TABLE alembic_version (version_num TEXT)"],
        [
            "CREATE TABLE alembic_version (version_num TEXT)",
            "INSERT INTO alembic_version VALUES ('x')",
            "CREATE TABLE _alembic_tmp_trace_tags (a TEXT)",
        ],
    ],
    ids=["empty", "before the first step", "in a step"],
)
def test_a_half_made_file_is_named_with_what_to_do(tmp_path, left):
    file = tmp_path / "mlflow.db"
    file.touch()
    with sqlite3.connect(file) as db:
        for statement in left:
            db.execute(statement)
    db.close()
    with pytest.raises(ServiceError, match=rf"^{file} is half made.*move it away, then run again$"):
        use(f"sqlite:///{file}")


def test_a_file_of_another_kind_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_text("no database, " * 100)
    with pytest.raises(ServiceError, match=r"mlflow\.db can't be read: file is not a database"):
        use(f"sqlite:///{tmp_path}/mlflow.db")
