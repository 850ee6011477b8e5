"""A real MySQL for a bench: the one of LAB_BENCH_MYSQL_URL, or a container with the settings of docker-compose.yml."""

import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from sqlalchemy.exc import OperationalError

from mlops_lab.data.database import connect
from mlops_lab.settings import REPOSITORY


@contextmanager
def mysql() -> Iterator[str | None]:
    """The address of an empty database; None, with a line that says why, when there is no server."""
    if url := os.environ.get("LAB_BENCH_MYSQL_URL"):
        yield url
        return
    service = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["mysql"]
    image, command = service["image"], service["command"]
    memory = service["deploy"]["resources"]["limits"]["memory"]
    password, name = secrets.token_hex(16), f"lab-bench-{secrets.token_hex(4)}"
    settings = {"MYSQL_ROOT_PASSWORD": password, "MYSQL_DATABASE": "bench", "MYSQL_INITDB_SKIP_TZINFO": "1"}
    options = [word for key, value in settings.items() for word in ("--env", f"{key}={value}")]
    try:
        _docker(
            "run",
            "--detach",
            "--name",
            name,
            "--memory",
            memory,
            "--publish",
            "127.0.0.1::3306",
            *options,
            image,
            *command,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        print(f"no MySQL here, so it is left out: {said.strip().splitlines()[-1]}", flush=True)
        yield None
        return
    try:
        port = _docker("port", name, "3306/tcp").splitlines()[0].rpartition(":")[2]
        url = f"mysql+pymysql://root:{password}@127.0.0.1:{port}/bench"
        _wait(url)
        yield url
    finally:
        _docker("rm", "--force", "--volumes", name)


def _wait(url: str, seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            connect(url, connect_timeout=2).connect().close()
        except OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)
        else:
            return


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout
