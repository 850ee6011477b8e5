"""A backup of the booted stack, and the empty stack that a restore makes of it."""

import shutil
import time

import pytest

from tests.stack.stack import PATIENCE, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(4 * PATIENCE)]


def test_a_backup_of_the_running_stack_is_restored_to_an_empty_one(stack, tmp_path, record_property):
    eventually(stack.champion, "a champion of housing", 2 * PATIENCE)
    stack.airflow().pause("housing_training")
    tables = ("RawData.batches", "RawData.promotions", "RawData.models", "CleanData.housing_clean")

    def counts() -> list[int]:
        return [stack.sql(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables]

    runs = {run["dag_run_id"] for run in stack.airflow().runs("housing_training")}
    champion, answer, logins, rows = (
        stack.champion(),
        stack.predict()["predictions"],
        stack.logins(),
        counts(),
    )
    folder, damaged = tmp_path / "backup", tmp_path / "damaged"
    started = time.monotonic()
    stack.make("backup", f"FOLDER={folder}")
    record_property("seconds of a backup", round(time.monotonic() - started))
    record_property("MB of a backup", round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6))

    shutil.copytree(folder, damaged)
    with (damaged / "mysql.sql").open("ab") as file:
        file.write(b"x")
    assert "mysql.sql: FAILED; nothing was changed" in stack.make("restore", f"FOLDER={damaged}", check=False)
    assert "has data; docker compose down" in stack.make("restore", f"FOLDER={folder}", check=False)
    assert stack.champion() == champion

    stack.down("--volumes")
    started = time.monotonic()
    stack.make("restore", f"FOLDER={folder}")
    eventually(lambda: stack.champion() == champion, "the champion of the backup")
    record_property("seconds of a restore until the champion predicts", round(time.monotonic() - started))
    assert stack.predict()["predictions"] == answer
    assert stack.logins() == logins
    # A run that the backup caught may have gone on.
    assert all(new >= old for new, old in zip(counts(), rows, strict=True))
    assert runs <= {run["dag_run_id"] for run in stack.airflow().runs("housing_training")}
