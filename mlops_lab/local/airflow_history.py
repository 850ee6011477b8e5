"""Deletes the part of Airflow's own history that is past its time: runs with their tasks and messages, and logs."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlops_lab.errors import ServiceError
from mlops_lab.settings import Settings

# The folders of logs that Airflow writes: of tasks, and of the readings of the DAG files.
LOGS = ("dag_id=*", "dag_processor")
# Airflow replaces these variables in a task, so that a task's code doesn't reach its database by accident. Without
# them, the command reads the address where Airflow's other processes do.
BLOCKED = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__CORE__SQL_ALCHEMY_CONN")
# Seconds.
TIMEOUT = 900


def forget_airflow(settings: Settings, progress: Callable[[str], None]) -> None:
    """Deletes what is older than `airflow_days`; 0 keeps all. The newest scheduled run of each DAG stays.

    It runs in a task. Raises `ServiceError` when Airflow's database can't be cleaned; the next call goes on.
    """
    days = settings.airflow_days
    if not days:
        return
    before = datetime.now(UTC) - timedelta(days=days)
    _forget_runs(before)
    count, size = _forget_logs(_log_folder(), before)
    setting = settings.variable("airflow_days")
    progress(
        f"deleted Airflow's history older than {days} days ({setting}), with {count:,} log files, {size / 1e6:,.1f} MB"
    )


def _forget_runs(before: datetime) -> None:
    command = [sys.executable, "-m", "airflow", "db", "clean", "--yes", "--skip-archive"]
    command += ["--error-on-cleanup-failure", "--clean-before-timestamp", before.isoformat()]
    env = {name: value for name, value in os.environ.items() if name not in BLOCKED}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise ServiceError(f"`airflow db clean` took longer than {TIMEOUT} s") from None
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ServiceError(f"`airflow db clean` failed: {lines[-1] if lines else done.returncode}")


def _log_folder() -> Path:
    folder = os.environ.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER")
    return Path(folder) if folder else Path(os.environ.get("AIRFLOW_HOME", Path.home() / "airflow")) / "logs"


def _forget_logs(logs: Path, before: datetime) -> tuple[int, int]:
    """Deletes files that nobody wrote to since, and folders that are empty since; returns files and bytes."""
    count = size = 0
    for top in (found for pattern in LOGS for found in logs.glob(pattern)):
        # From the bottom, so that a folder comes after what is in it.
        for path, folders, names in os.walk(top, topdown=False):
            for name in names:
                file = Path(path, name)
                if not file.is_symlink() and (stat := file.stat()).st_mtime < before.timestamp():
                    file.unlink()
                    count, size = count + 1, size + stat.st_size
            for name in folders:
                _remove_empty(Path(path, name))
        _remove_empty(top)
    return count, size


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # It has files, or a task has just written one.
