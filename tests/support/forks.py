"""Commands of `lab`, each in a process of its own, which is forked from one that has imported everything.

So a command starts at once instead of after four seconds. Airflow's processes do the same (`mlops_lab/local/warm.py`).
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_lab.local.embedded import QUIET
from mlops_lab.local.warm import warm_up_dags, warm_up_tasks
from mlops_lab.settings import REPOSITORY
from tests.support.processes import environment

# What the commands import besides what Airflow's tasks need.
MODULES = (
    "mlops_lab.cli",
    "mlops_lab.data.migrate",
    "mlops_lab.local.embedded",
    "mlops_lab.status",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
)


@dataclass(frozen=True)
class Ended:
    """How a command ended. status: the exit status, or the signal's number below zero."""

    status: int
    seconds: float
    printed: str


class Forks:
    """The process that forks; ended at the end of the block. temporary: the folder of temporary files."""

    def __init__(self, temporary: Path, **variables: str):
        temporary.mkdir()
        self._environment = environment() | QUIET | {"TMPDIR": str(temporary), "COLUMNS": "200"} | variables

    def __enter__(self) -> "Forks":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks"],
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.stdin.close()
        self._process.wait(60)

    def lab(
        self, log: Path, variables: Mapping[str, str], *arguments: str, kill_after: float | None = None
    ) -> Ended:
        """`lab` with the arguments, to its end or until SIGKILL after so many seconds. log: gets its output."""
        before = log.stat().st_size if log.exists() else 0
        order = {"log": str(log), "variables": variables, "arguments": arguments, "kill_after": kill_after}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status, seconds = json.loads(self._process.stdout.readline())
        return Ended(status, seconds, log.read_bytes()[before:].decode())


def _command(log: str, variables: dict[str, str], arguments: list[str]) -> None:
    """The whole life of a forked process."""
    status = 1
    try:
        os.environ.update(variables)
        for target, source in ((0, os.devnull), (1, log), (2, log)):
            os.dup2(os.open(source, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), target)
        from mlops_lab.cli import app

        app(arguments, prog_name="lab")
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _serve() -> None:
    warm_up_dags()
    warm_up_tasks()
    for name in MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        order = json.loads(line)
        kill_after = order.pop("kill_after")
        began = time.monotonic()
        if (child := os.fork()) == 0:
            _command(**order)
        ended, status = 0, 0
        while not ended:
            if kill_after is not None and time.monotonic() - began >= kill_after:
                os.kill(child, signal.SIGKILL)
                ended, status = os.waitpid(child, 0)
            else:
                time.sleep(0.002)
                ended, status = os.waitpid(child, os.WNOHANG)
        print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - began]), flush=True)


if __name__ == "__main__":
    _serve()
