"""A real service: `python -m inference` in its own process, over a real MLflow store and a real database."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, create_engine, insert, select

from mlops_lab.data.tables import RAW, Feedback, Model, Prediction
from mlops_lab.model.registry import CHAMPION, Registry, Version
from tests.support import models

TOKEN = "a-token-for-tests"
SLACK = 60  # seconds until something must have happened, on a machine that is busy


@dataclass
class Lab:
    """A lab of its own under one folder: MLflow store, database, and the services that were started on it."""

    home: Path
    registry: Registry
    database: Engine
    services: list["Running"] = field(default_factory=list)

    def publish(self, use_case: str, scale: float = 1.0, champion: bool = True, **tags: str) -> Version:
        """Builds, registers and (unless told otherwise) promotes a model."""
        folder = self.home / "built" / f"{use_case}-{scale}"
        if not folder.exists():
            models.build(folder, use_case, scale)
        version = models.register(self.registry, folder, use_case, **tags)
        if champion:
            self.promote(version)
        return version

    def promote(self, version: Version) -> None:
        self.registry.set_alias(version.use_case, CHAMPION, version.version)

    def record(self, version: Version, digest: str) -> None:
        """Writes the digest into RawData, as registration does."""
        with self.database.begin() as db:
            row = {
                "run_id": version.run_id,
                "batch_id": 1,
                "registered_at": version.created_at,
                "digest": digest,
            }
            db.execute(insert(Model).values(use_case=version.use_case, version=version.version, **row))

    def predictions(self) -> list:
        with self.database.connect() as db:
            return list(db.execute(select(Prediction).order_by(Prediction.id)))

    def feedback(self) -> list:
        with self.database.connect() as db:
            return list(db.execute(select(Feedback)))

    def serve(self, ready: bool = True, **settings) -> "Running":
        """Starts a service; settings are `LAB_*` variables in lower case without their prefix."""
        settings = {
            "home": self.home,
            "mlflow_url": self.registry.tracking_uri,
            "inference_poll": 0.2,
            "default_use_case": "houses",
            "reload_token": TOKEN,
        } | settings
        service = Running.start(self.home, {f"LAB_{key.upper()}": str(v) for key, v in settings.items()})
        self.services.append(service)
        if ready:
            service.wait(lambda: service.http.get("/ready").status_code == 200)
        return service

    def close(self) -> None:
        for service in self.services:
            service.kill()
        self.database.dispose()


@dataclass
class Running:
    """One process of the service."""

    process: subprocess.Popen
    http: httpx.Client
    log: Path
    port: int

    @classmethod
    def start(cls, home: Path, environment: dict[str, str]) -> "Running":
        port = free_port()
        log = home / f"service-{port}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "inference", "--port", str(port)],
                stderr=file,
                env=inherited | environment,
            )
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SLACK)
        running = cls(process, http, log, port)
        running.wait(lambda: running.http.get("/health").status_code == 200)
        return running

    def wait(self, until: Callable[[], object]) -> object:
        """What `until` returns once it is true; a service that isn't up yet counts as not yet."""
        end = time.monotonic() + SLACK
        while True:
            try:
                if found := until():
                    return found
            except httpx.TransportError:
                assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def predict(self, row: dict | None = None, use_case: str = "houses") -> dict:
        reply = self.http.post(f"/predict/{use_case}", json=row or EXAMPLE)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels."""
        total = 0.0
        for line in self.http.get("/metrics").text.splitlines():
            sample, _, value = line.rpartition(" ")
            if sample.partition("{")[0] == name and all(f'{k}="{v}"' in sample for k, v in labels.items()):
                total += float(value)
        return total

    def stop(self) -> int:
        """Asks it to stop, as Docker and Kubernetes do; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SLACK)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(SLACK)
        self.http.close()


EXAMPLE = {f.name: f.example for f in models.FEATURES}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory) -> Path:
    """An empty MLflow store; MLflow takes seconds to make one, so labs get copies."""
    folder = tmp_path_factory.mktemp("mlflow")
    Registry(f"sqlite:///{folder}/mlflow.db").use_cases()
    return folder / "mlflow.db"


@pytest.fixture
def lab(tmp_path: Path, empty_mlflow: Path) -> Iterator[Lab]:
    yield from _lab(tmp_path, empty_mlflow)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, empty_mlflow: Path) -> Iterator[Lab]:
    """One lab with three champions, for tests that change nothing."""
    for lab in _lab(tmp_path_factory.mktemp("lab"), empty_mlflow):
        for use_case in models.TASKS:
            lab.publish(use_case, candidate="small", outcome="promoted", reason="first champion")
        yield lab


@pytest.fixture(scope="module")
def service(shared: Lab) -> Running:
    return shared.serve()


def _lab(home: Path, empty_mlflow: Path) -> Iterator[Lab]:
    shutil.copy(empty_mlflow, home / "mlflow.db")
    database = create_engine(f"sqlite:///{home}/RawData.db", connect_args={"timeout": 30})
    RAW.create_all(database)
    registry = Registry(f"sqlite:///{home}/mlflow.db")
    # Without a server, runs keep their artifacts where their experiment says; the service must find them too.
    for use_case in models.TASKS:
        registry.client.create_experiment(use_case, artifact_location=str(home / "artifacts" / use_case))
    lab = Lab(home, registry, database)
    try:
        yield lab
    finally:
        lab.close()
