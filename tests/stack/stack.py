"""One booted copy of the compose file, with its own project name and ports."""

import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import httpx
import pymysql

from mlops_lab.local.airflow_client import AirflowClient, AirflowError
from mlops_lab.local.processes import free_ports
from mlops_lab.settings import REPOSITORY

PORTS = {
    "airflow": 8080,
    "data_api": 8081,
    "mysql": 8082,
    "minio_console": 8083,
    "minio": 9000,
    "mlflow": 8084,
    "inference": 8085,
    "streamlit": 8086,
    "gradio": 8087,
    "notebooks": 8088,
    "locust": 8089,
    "prometheus": 9090,
    "alertmanager": 9093,
    "grafana": 3000,
}
# Seconds; five times the longest acceptable boot.
PATIENCE = float(os.environ.get("LAB_TEST_PATIENCE", 600))


class Stack:
    """The project as a user of the shell sees it. `use_cases` and `data` are the folders that are mounted into it.

    scale: the size of the synthetic data.
    """

    def __init__(self, use_cases: Path, data: Path, scale: float = 0.03):
        self.project = f"lab-test-{secrets.token_hex(3)}"
        self._known_logins: dict[str, tuple[str, str]] = {}
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        variables = {f"LAB_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self._environment = (
            {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "COMPOSE_"))}
            | variables
            | {"LAB_USE_CASES_FOLDER": str(use_cases), "LAB_DATA_FOLDER": str(data)}
            | {"LAB_DATOS_SCALE": str(scale), "COMPOSE_PROGRESS": "plain"}
            | {"LAB_TAG": os.environ.get("LAB_TAG", "1.0.0"), "COMPOSE_DISABLE_ENV_FILE": "1"}
        )

    def compose(self, *command: str, check: bool = True, timeout: float = PATIENCE, more: str = "") -> str:
        """The output of `docker compose …`. Raises AssertionError with its last lines when the command fails.

        more: a second compose file.
        """
        whole = [
            "docker",
            "compose",
            "--project-name",
            self.project,
            "--file",
            "docker-compose.yml",
            *(["--file", more] if more else []),
            *command,
        ]
        done = subprocess.run(
            whole,
            cwd=REPOSITORY,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"docker compose {' '.join(command)}:\n{(done.stdout + done.stderr)[-4000:]}"
        )
        return done.stdout

    def up(self, *options: str) -> float:
        """Returns the seconds until all services are healthy."""
        started = time.monotonic()
        self.compose(
            "up", "--detach", "--wait", "--wait-timeout", str(int(PATIENCE)), *options, timeout=PATIENCE + 120
        )
        return time.monotonic() - started

    def down(self, *options: str) -> None:
        self.compose("--profile", "*", "down", "--timeout", "30", *options)

    def make(self, target: str, *variables: str, check: bool = True) -> str:
        """The output of a target of the Makefile for this project. check: raises AssertionError when it fails."""
        # The engine is running already.
        whole = ["make", "--silent", target, "ENGINE=:", *variables]
        environment = self._environment | {"COMPOSE_PROJECT_NAME": self.project}
        done = subprocess.run(
            whole, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        self._known_logins = {}
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"make {target}:\n{output[-4000:]}"
        return output

    def run_in(self, service: str, *command: str, check: bool = True) -> str:
        return self.compose("exec", "--no-TTY", service, *command, check=check)

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The compose file's services, as docker compose reads them."""
        return json.loads(self.compose("config", "--format", "json"))["services"]

    def running(self) -> list[str]:
        """The names of the services that have a running container."""
        return self.compose("ps", "--services", "--status", "running").split()

    def volumes(self) -> list[dict[str, Any]]:
        """The project's volumes: name without the project's, folder on this machine, size in MiB."""
        found = json.loads(_docker("system", "df", "--verbose", "--format", "{{json .Volumes}}"))
        prefix = f"{self.project}_"
        return [
            {
                "name": volume["Name"].removeprefix(prefix),
                "folder": Path(volume["Mountpoint"]),
                "size": _mib(volume["Size"]),
            }
            for volume in found
            if volume["Name"].startswith(prefix)
        ]

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """The result of `docker inspect` for each container."""
        found = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        return json.loads(_docker("inspect", *found)) if found else []

    def left(self) -> list[str]:
        """The ids of containers, volumes and networks that belong to the project."""
        label = f"label=com.docker.compose.project={self.project}"
        kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return [line for kind in kinds for line in _docker(*kind, "--quiet", "--filter", label).split()]

    def memory(self) -> dict[str, float]:
        """Container → memory in use, in MiB."""
        lines = _docker("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}").splitlines()
        found = (re.match(rf"{self.project}-(\S+) (\S+) /", line) for line in lines)
        return {match[1]: _mib(match[2]) for match in found if match}

    def logins(self) -> dict[str, tuple[str, str]]:
        """Service → (user, password), as `make passwords` prints them."""
        lines = self.compose("run", "--rm", "--no-deps", "--no-TTY", "secrets-init", "show").splitlines()
        rows = [re.split(r"\s{2,}|\s(?=\S+$)", line.strip()) for line in lines[1:] if line.strip()]
        self._known_logins = {service: (user.strip(), password) for service, user, password in rows}
        return self._known_logins

    def login(self, service: str) -> tuple[str, str]:
        """User and password; read once until a target of the Makefile has run, because a reading starts a container."""
        return (self._known_logins or self.logins())[service]

    def airflow(self) -> AirflowClient:
        return AirflowClient(self.url("airflow"), *self.login("Airflow"))

    def pause(self, dag: str) -> None:
        """Pauses a DAG and waits for the end of its tasks under way; a paused DAG begins no further task."""
        airflow = self.airflow()

        def still() -> bool:
            runs = [run["dag_run_id"] for run in airflow.runs(dag) if run["state"] == "running"]
            tasks = [task for run in runs for task in airflow.tasks(dag, run)]
            return all(task["state"] not in ("running", "queued") for task in tasks)

        airflow.pause(dag)
        eventually(still, "the end of the tasks under way", 2 * PATIENCE)

    def sql(self, query: str) -> list[tuple]:
        """Rows, read with the read-only account for people."""
        user, password = self.login("MySQL")
        server = pymysql.connect(host="127.0.0.1", port=self.ports["mysql"], user=user, password=password)
        with server, server.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())

    def bucket(self, login: tuple[str, str] | None = None) -> Any:
        """An S3 client of MinIO, by default as its administrator."""
        user, password = login or self.login("MinIO")
        return boto3.client(
            "s3", endpoint_url=self.url("minio"), aws_access_key_id=user, aws_secret_access_key=password
        )

    def lab(self, *arguments: str) -> str:
        """The output of a command of `lab` in the worker."""
        return self.run_in("airflow-worker", "python", "-m", "mlops_lab.cli", *arguments)

    def root_sql(self, statements: str) -> list[str]:
        """The lines that MySQL's root gets: what no account of the lab may do, such as making rows older."""
        client = 'MYSQL_PWD=$(cat /secrets/root-password) mysql -h 127.0.0.1 -u root -N -B -e "$1"'
        return self.run_in("mysql", "sh", "-c", client, "sh", statements).split("\n")[:-1]

    def mlflow(self, method: str, path: str, **content) -> dict:
        reply = httpx.request(method, f"{self.url('mlflow')}/api/2.0/mlflow/{path}", timeout=30, **content)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def champion(self, use_case: str = "housing") -> int | None:
        return served_version(self.url("inference"), use_case)

    @cached_property
    def example(self) -> dict:
        return example_row(self.url("inference"))

    def predict(self) -> dict:
        reply = httpx.post(f"{self.url('inference')}/predict/housing", json=self.example, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()


def served_version(
    inference: str, use_case: str = "housing", headers: dict[str, str] | None = None
) -> int | None:
    """The version that the service at this URL serves, or None. headers: the API key, where it requires one."""
    models = httpx.get(f"{inference}/models", headers=headers, timeout=30).json()["models"]
    return next((model["version"] for model in models if model["use_case"] == use_case), None)


def example_row(inference: str, headers: dict[str, str] | None = None) -> dict:
    """The example row in the contract of housing's champion."""
    contract = httpx.get(f"{inference}/models/housing", headers=headers, timeout=30).json()
    return {feature["name"]: feature["example"] for feature in contract["features"]}


def eventually(check: Callable[[], Any], what: str, patience: float = PATIENCE, pause: float = 2) -> Any:
    """Calls `check` until it returns a true value, and returns that. An error counts as false."""
    deadline, last = time.monotonic() + patience, "nothing"
    while time.monotonic() < deadline:
        try:
            if found := check():
                return found
            last = "nothing"
        except (AssertionError, AirflowError, httpx.HTTPError, pymysql.Error, KeyError, ValueError) as error:
            last = f"{type(error).__name__}: {error}"
        time.sleep(pause)
    raise AssertionError(f"{what}: not within {patience:g} s; last: {last[-1500:]}")


def _mib(size: str) -> float:
    """The MiB of a size as Docker prints it, for example `70.66MiB` or `1.2GB`."""
    unit = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    number, name = re.fullmatch(r"([\d.]+)(\w+)", size).groups()
    return float(number) * unit[name] / 2**20


def docker_works() -> bool:
    return subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False).returncode == 0


def _docker(*command: str) -> str:
    return subprocess.run(
        ["docker", *command], capture_output=True, text=True, timeout=120, check=True
    ).stdout
