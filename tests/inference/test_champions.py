"""The served champion follows the registry: replaced without an interruption, and only by a version that is valid."""

import os
import signal
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlops_lab.contract import CONTRACT_FILE, MODEL_FILE
from mlops_lab.data.tables import Model
from mlops_lab.local.processes import Process, Supervisor, free_ports
from mlops_lab.model import predictor, registry
from mlops_lab.model.registry import CHAMPION, Registry, digest
from tests.inference.serving import (
    EXAMPLE,
    Served,
    ServingLab,
    load_error,
    reload,
    served_version,
    under_load,
)
from tests.support import models


def _not_ready(service: Served, why: str) -> httpx.Response | None:
    """The reply of `/ready` once it names the reason; before its first look the service says that it loads."""
    reply = service.http.get("/ready")
    return reply if why in reply.json().get("detail", "") else None


@pytest.mark.process
def test_alias_moves_back_and_forth_under_load_without_a_failed_request(lab):
    first, second = lab.publish("houses"), lab.publish("houses", scale=2.0)
    service = lab.start(inference_poll=0.05)
    expected = {}
    for version in (first, second):
        lab.promote(version)
        service.wait(lambda version=version: served_version(service) == version.version)
        expected[version.version] = service.predict()["predictions"]
    assert expected[1] != expected[2]

    with under_load(service, expected):
        for turn in range(6):
            version = (first, second)[turn % 2]
            lab.promote(version)
            reload(service)
            assert served_version(service) == version.version


@pytest.mark.fault
def test_a_tampered_artifact_is_refused_and_the_old_champion_stays(lab, caplog):
    lab.publish("houses")
    service = lab.serve()
    second = lab.publish("houses", scale=2.0, champion=False)
    [graph] = [p for p in lab.home.glob("artifacts/**/" + MODEL_FILE) if second.run_id in str(p)]
    other = lab.home / "other"
    models.build(other, "houses", scale=3.0)
    graph.write_bytes((other / MODEL_FILE).read_bytes())
    lab.promote(second)
    error = service.wait(lambda: load_error(service))
    assert "digest" in error
    assert served_version(service) == 1
    assert service.metric("model_reload_failures_total", use_case="houses") >= 1
    assert service.metric("model_reload_failing", use_case="houses") == 1
    # One line for each fault, however often it is met.
    assert caplog.text.count("version 2 can't be served") == 1


def test_registry_and_database_must_agree_on_the_digest(lab):
    lab.publish("houses")
    service = lab.serve()
    lab.publish("houses", scale=2.0, digest="0" * 64)
    assert "the lab's database 000000000000" in service.wait(lambda: load_error(service))
    assert served_version(service) == 1
    lab.publish("houses", scale=3.0)
    service.wait(lambda: served_version(service) == 3)
    assert load_error(service) is None


def test_a_version_that_the_lab_did_not_register_is_refused_unless_allowed(lab):
    lab.publish("houses")
    service = lab.serve()
    lab.publish("houses", scale=2.0, digest="")
    assert "no record in the lab's database" in service.wait(lambda: load_error(service))
    assert served_version(service) == 1
    by_hand = lab.serve(allow_unrecorded=True)
    assert served_version(by_hand) == 2


@pytest.mark.fault
def test_without_the_database_only_what_it_confirmed_before_is_served(lab, tmp_path):
    away = f"sqlite:///{tmp_path}/nowhere/RawData.db"
    version = lab.publish("houses")
    service = lab.serve(ready=False, raw_db_url=away)
    reply = service.wait(lambda: _not_ready(service, "database with its record does not answer"))
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    assert "database with its record does not answer" in load_error(service)
    # Another start, with the database, has its answer; the third goes by that.
    assert served_version(lab.serve(inference_poll=3600)) == 1
    service = lab.serve(raw_db_url=away)
    assert served_version(service) == 1
    lab.publish("houses", scale=2.0)
    assert "does not answer" in service.wait(lambda: load_error(service))
    assert served_version(service) == 1
    # Files and registry changed together: the remembered digest still differs.
    other = lab.home / "other"
    models.build(other, "houses", scale=3.0)
    [folder] = [p.parent for p in lab.home.glob("artifacts/**/" + MODEL_FILE) if version.run_id in str(p)]
    (folder / MODEL_FILE).write_bytes((other / MODEL_FILE).read_bytes())
    lab.registry.client.set_model_version_tag("houses", "1", "lab.digest", digest(folder))
    lab.promote(version)
    service = lab.serve(ready=False, raw_db_url=away)
    assert "one of them was changed" in service.wait(lambda: load_error(service))
    assert service.http.get("/ready").status_code == 503


def test_the_service_goes_on_when_the_database_comes_back(lab):
    lab.publish("houses")
    Model.__table__.drop(lab.database)
    service = lab.serve(ready=False)
    service.wait(lambda: load_error(service))
    Model.__table__.create(lab.database)
    lab.record(lab.registry.version("houses", 1), lab.registry.version("houses", 1).digest)
    service.wait(lambda: service.http.get("/ready").status_code == 200)


def test_a_graph_that_does_not_end_is_refused_and_the_old_champion_stays(lab, monkeypatch):
    monkeypatch.setattr(predictor, "CHECK_SECONDS", 0.2)
    lab.publish("houses")
    service = lab.serve(inference_poll=3600)
    folder = lab.home / "endless"
    models.build(folder)
    models.make_endless(folder)
    lab.promote(lab.register(folder))
    reload(service)
    assert "takes longer than 0.2 s" in load_error(service)
    assert served_version(service) == 1


def _breakages() -> dict:
    def corrupt_contract(folder: Path) -> None:
        (folder / CONTRACT_FILE).write_text('{"format": 1}')

    def corrupt_graph(folder: Path) -> None:
        (folder / MODEL_FILE).write_bytes(b"not a graph")

    def other_width(folder: Path) -> None:
        x = np.zeros((3, 2), dtype=np.float32)
        model = make_pipeline(FunctionTransformer(), LinearRegression()).fit(x, [1, 2, 3])
        (folder / MODEL_FILE).write_bytes(models.graph(model, 2))

    def not_finite(folder: Path) -> None:
        x = np.zeros((3, 6), dtype=np.float32)
        model = make_pipeline(FunctionTransformer(), LinearRegression()).fit(x, [1, 2, 3])
        model[-1].intercept_ = np.nan
        (folder / MODEL_FILE).write_bytes(models.graph(model, 6))

    def another_use_case(folder: Path) -> None:
        models.build(folder, "forest")

    return {
        f.__name__: f for f in (corrupt_contract, corrupt_graph, other_width, not_finite, another_use_case)
    }


def test_a_model_that_needs_too_much_memory_is_not_downloaded(lab, monkeypatch):
    lab.publish("houses")
    service = lab.serve(inference_poll=3600)
    monkeypatch.setattr(registry, "MAX_GRAPH_BYTES", 1000)
    lab.publish("houses", scale=2.0)
    reload(service)
    assert "more than the service has memory for" in load_error(service)
    assert served_version(service) == 1


@pytest.mark.parametrize("breakage", _breakages().values(), ids=_breakages().keys())
def test_a_model_that_cannot_serve_never_replaces_one_that_does(lab, breakage):
    lab.publish("houses")
    service = lab.serve(inference_poll=3600)
    folder = lab.home / breakage.__name__
    models.build(folder)
    breakage(folder)
    before = service.predict()
    lab.promote(lab.register(folder))
    reload(service)
    assert load_error(service)
    assert "Traceback" not in load_error(service)
    assert service.predict()["predictions"] == before["predictions"]
    assert service.http.get("/ready").status_code == 200
    good = lab.publish("houses", scale=2.0)
    reload(service)
    assert served_version(service) == good.version
    assert load_error(service) is None


def test_rollback_by_alias_and_withdrawal(lab):
    first, second = lab.publish("houses"), lab.publish("houses", scale=2.0)
    service = lab.serve()
    service.wait(lambda: served_version(service) == second.version)
    lab.promote(first)
    service.wait(lambda: served_version(service) == first.version)
    lab.registry.delete_alias("houses", CHAMPION)
    service.wait(lambda: service.http.post("/predict", json=EXAMPLE).status_code == 503)
    assert service.http.get("/ready").status_code == 503
    # Only the present champion's files stay on disk.
    lab.promote(second)
    service.wait(lambda: service.http.get("/ready").status_code == 200)
    service.wait(lambda: [p.name for p in (lab.home / "serving").glob("houses-*")] == ["houses-2"])


def test_a_registry_that_is_not_the_labs_is_left_alone(lab):
    lab.publish("houses")
    lab.registry.client.create_registered_model("somebody-elses")
    service = lab.serve()
    assert [m["use_case"] for m in service.http.get("/models").json()["models"]] == ["houses"]


@pytest.fixture
def mlflow(tmp_path, templates):
    """An MLflow server: its URL and its process."""
    templates.copy_empty(tmp_path / "server")
    [port] = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    server = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server/mlflow.db"]
    files = ["--artifacts-destination", str(tmp_path / "bucket"), "--workers", "1"]
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = Process("mlflow", [*server, *store, *files], environment, url)
    with Supervisor(tmp_path / "logs") as supervisor:
        handle = supervisor.start(process)
        supervisor.wait(process)
        yield url, handle


@pytest.mark.fault
@pytest.mark.process
def test_the_champion_is_served_while_mlflow_hangs_or_is_killed(lab, mlflow, monkeypatch):
    url, server = mlflow
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    over_http = ServingLab(lab.home, lab.built, Registry(url), lab.database)
    over_http.publish("houses")
    service = over_http.serve()

    def failures() -> float:
        return service.metric("model_reload_failures_total", use_case="registry")

    def registry_error() -> str | None:
        return service.http.get("/models").json()["registry"]["error"]

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    os.killpg(server.pid, signal.SIGSTOP)
    service.wait(registry_error)
    assert failures() >= 1
    assert served_version(service) == 1
    assert service.http.get("/ready").status_code == 200
    # Whether there is a newer champion is unknown.
    assert "\nmodel_registry_up 0.0" in service.http.get("/metrics").text
    assert "model_reload_failing{" not in service.http.get("/metrics").text
    reply = service.http.get("/models/houses/versions")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")

    os.killpg(server.pid, signal.SIGCONT)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    service.wait(lambda: registry_error() is None)
    over_http.publish("houses", scale=2.0)
    service.wait(lambda: served_version(service) == 2)

    before = failures()
    os.killpg(server.pid, signal.SIGKILL)
    service.wait(lambda: failures() > before)
    assert registry_error()
    assert served_version(service) == 2
    over_http.close()
