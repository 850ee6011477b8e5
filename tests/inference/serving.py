"""A folder with an MLflow store, a database and models; services on it, in this process or in one of their own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Engine, insert, select
from starlette.testclient import TestClient

from inference.app import create_app
from inference.settings import InferenceSettings
from mlops_lab.api_keys import line_of
from mlops_lab.data.database import connect, create
from mlops_lab.data.log_tables import Feedback, Prediction, Request, ShadowPrediction
from mlops_lab.data.tables import RAW, Model
from mlops_lab.local.processes import Process, Supervisor, free_ports
from mlops_lab.model.registry import CHAMPION, Registry, Version
from mlops_lab.model.signing import public_key
from mlops_lab.model.trial import Trial
from tests.support import models

TOKEN = "a-token-for-tests"
# Name → API key. Their rights: `keys_list`.
KEYS = {name: f"an-api-key-for-tests-of-{name}" for name in ("caller", "auditor", "both")}
VERIFY_KEYS = public_key(models.SIGNING_KEY)
# Seconds until something must have happened, on a busy machine.
SLACK = 60
# What the service writes to: without these tables it serves, but can log nothing.
LOG_TABLES = [table.__table__ for table in (Prediction, ShadowPrediction, Feedback, Request)]
EXAMPLE = {f.name: f.example for f in models.FEATURES}


@dataclass
class Served:
    """A running service, with the HTTP client for tests."""

    http: Any

    def wait(self, until: Callable[[], Any]) -> Any:
        """Waits until `until` returns a true value, and returns that."""
        end = time.monotonic() + SLACK
        while not (result := until()):
            assert time.monotonic() < end, self.http.get("/models").text
            time.sleep(0.02)
        return result

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


@dataclass
class ServedByProcess(Served):
    """A service in a process of its own."""

    process: subprocess.Popen
    port: int
    log: Path

    def stop(self) -> int:
        """Ends it as Docker and Kubernetes do; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SLACK)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(SLACK)


@dataclass
class ServingLab:
    """Everything in one folder. `built` keeps the models' files for all tests, since they are the same in each."""

    home: Path
    built: Path
    registry: Registry
    database: Engine
    _running: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def open(cls, home: Path, built: Path) -> "ServingLab":
        """home: has an empty MLflow store."""
        database = connect(f"sqlite:///{home}/RawData.db")
        create(RAW, database)
        registry = Registry(f"sqlite:///{home}/mlflow.db")
        # Without a server, runs keep their artifacts where their experiment says.
        for use_case in models.TASKS:
            registry.client.create_experiment(use_case, artifact_location=str(home / "artifacts" / use_case))
        return cls(home, built, registry, database)

    def close(self) -> None:
        self._running.close()
        self.database.dispose()

    def publish(
        self, use_case: str, scale: float = 1.0, champion: bool = True, digest: str | None = None, **tags: str
    ) -> Version:
        """Builds, registers and, by default, promotes a model.

        digest: what the lab's database records, by default the model's own; "" records nothing.
        """
        folder = self.built / f"{use_case}-{scale}"
        if not folder.exists():
            models.build(folder, use_case, scale)
        version = self.register(folder, use_case, digest, **tags)
        if champion:
            self.promote(version)
        return version

    def register(
        self, folder: Path, use_case: str = "houses", digest: str | None = None, **tags: str
    ) -> Version:
        """Registers the model in the folder, with its record in the lab's database."""
        version = models.register(self.registry, folder, use_case, **tags)
        if recorded := version.digest if digest is None else digest:
            self.record(version, recorded)
        return version

    def promote(self, version: Version) -> None:
        self.registry.set_alias(version.use_case, CHAMPION, version.version)

    def try_out(self, version: Version, champion: Version, share: float | None = None) -> None:
        """Begins a trial, as `lab trial` does."""
        self.registry.set_trial(version.use_case, Trial(version.version, champion.version, share))

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

    def shadows(self) -> list:
        with self.database.connect() as db:
            return list(db.execute(select(ShadowPrediction).order_by(ShadowPrediction.prediction_id)))

    def requests(self) -> list:
        with self.database.connect() as db:
            return list(db.execute(select(Request).order_by(Request.id)))

    def feedback(self) -> list:
        with self.database.connect() as db:
            return list(db.execute(select(Feedback)))

    def serve(self, ready: bool = True, **settings: Any) -> Served:
        """A service in this process, until the lab is closed. `settings` are those of `InferenceSettings`."""
        app = create_app(InferenceSettings(**self._settings(settings)))
        client = self._running.enter_context(TestClient(app, raise_server_exceptions=False))
        return _ready(Served(client)) if ready else Served(client)

    def start(self, **settings: Any) -> ServedByProcess:
        """A service in a process of its own, until the lab is closed."""
        [port] = free_ports(1)
        environment = {f"LAB_{key.upper()}": str(value) for key, value in self._settings(settings).items()}
        command = [sys.executable, "-m", "inference", "--port", str(port)]
        process = Process(f"inference-{port}", command, environment, f"http://127.0.0.1:{port}")
        handle = self._supervisor.start(process)
        self._supervisor.wait(process, SLACK)
        http = self._running.enter_context(httpx.Client(base_url=process.url, timeout=SLACK))
        return _ready(ServedByProcess(http, handle, port, self._supervisor.log(process.name)))

    @cached_property
    def _supervisor(self) -> Supervisor:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
        return self._running.enter_context(Supervisor(self.home / "logs", inherited))

    def _settings(self, changes: dict[str, Any]) -> dict[str, Any]:
        return {
            "home": self.home,
            "mlflow_url": self.registry.tracking_uri,
            "inference_poll": 0.2,
            "default_use_case": "houses",
            "reload_token": TOKEN,
            "verify_keys": VERIFY_KEYS,
        } | changes


def keys_list() -> str:
    """The list of `KEYS` that a service gets."""
    rights = {"caller": ["predict"], "auditor": ["read"], "both": ["predict", "read"]}
    return "\n".join(line_of(name, rights[name], key) for name, key in KEYS.items())


def bearer(name: str) -> dict[str, str]:
    """The header with the API key of this name."""
    return {"Authorization": f"Bearer {KEYS[name]}"}


def served_version(service: Served) -> int:
    """The version that answers for `houses`."""
    return service.predict()["model"]["version"]


@contextmanager
def under_load(service: Served, expected: dict[int, list]) -> Iterator[None]:
    """Two callers predict the example while the block runs: no request may fail, and all versions must answer.

    expected: version → its predictions.
    """
    stop, seen, wrong = threading.Event(), set(), []

    def ask() -> None:
        with httpx.Client(base_url=service.http.base_url, timeout=SLACK) as http:
            while not stop.is_set():
                reply = http.post("/predict", json=EXAMPLE)
                body = reply.json()
                if reply.status_code != 200 or body["predictions"] != expected[body["model"]["version"]]:
                    wrong.append(body)
                else:
                    seen.add(body["model"]["version"])

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert not wrong
    assert seen == expected.keys()


def reload(service: Served) -> dict:
    """The reply of `/reload`."""
    return service.http.post("/reload", headers={"Authorization": f"Bearer {TOKEN}"}).json()


def trial_of(service: Served) -> dict | None:
    """What `/models` says of the trial of `houses`."""
    [model] = [m for m in service.http.get("/models").json()["models"] if m["use_case"] == "houses"]
    return model["trial"]


def load_error(service: Served) -> str | None:
    """Why the champion of `houses` isn't loaded."""
    models = service.http.get("/models").json()["models"]
    return next((model["error"] for model in models if model["use_case"] == "houses"), None)


def _ready(service: Any) -> Any:
    service.wait(lambda: service.http.get("/ready").status_code == 200)
    return service
