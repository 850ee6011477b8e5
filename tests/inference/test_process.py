"""The process: its log, and a stop that lets requests finish. Its start is in tests/test_serve.py."""

import json
import logging
import signal
import socket
import time
from types import SimpleNamespace

import pytest

from mlops_lab.logs import JsonFormatter
from mlops_lab.model.predictor import Predictor
from mlops_lab.rollout import check_replicas
from tests.inference.serving import SLACK, TOKEN, ServingLab
from tests.support import models


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, templates, built):
    """A service that predicted, was asked to stop during a request, and stopped."""
    home = tmp_path_factory.mktemp("process") / "lab"
    templates.copy_empty(home)
    lab = ServingLab.open(home, built)
    lab.publish("houses")
    service = lab.start()
    made = set()
    for seed in range(5):
        rows = {"rows": models.raw_rows(40, seed)}
        made.update(service.http.post("/predict", json=rows).json()["prediction_ids"])
    predictor = Predictor.load(built / "houses-1.0")
    replicas = check_replicas(str(service.http.base_url), TOKEN, SLACK, "houses", 1, predictor)
    body = json.dumps({"rows": models.raw_rows(100)}).encode()
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    too_large = b" " * (9 * 2**20)
    with socket.create_connection(("127.0.0.1", service.port), timeout=SLACK) as connection:
        # A client that sends everything before it reads.
        connection.sendall(head % len(too_large) + too_large)
        refused = connection.recv(65536)
        connection.sendall(head % len(body) + body[:100])
        # The service begins to read it.
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        waited = service.process.poll() is None
        connection.sendall(body[100:])
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    status = service.process.wait(SLACK)
    lines = service.log.read_text().splitlines()
    logged = {p.id for p in lab.predictions()}
    yield SimpleNamespace(
        made=made,
        replicas=replicas,
        refused=refused,
        waited=waited,
        reply=reply,
        status=status,
        lines=lines,
        logged=logged,
    )
    lab.close()


@pytest.mark.process
def test_a_body_over_the_limit_is_refused_readably_and_the_connection_stays(stopped):
    assert stopped.refused.startswith(b"HTTP/1.1 413")
    assert b"8388608 bytes" in stopped.refused
    assert stopped.reply.startswith(b"HTTP/1.1 200")


@pytest.mark.process
def test_a_request_under_way_finishes_on_a_stop(stopped):
    assert stopped.waited
    assert stopped.reply.startswith(b"HTTP/1.1 200")
    assert stopped.status == 0


@pytest.mark.process
def test_the_check_of_a_rollout_is_no_logged_prediction(stopped):
    last = json.loads(stopped.reply.partition(b"\r\n\r\n")[2])["prediction_ids"]
    assert stopped.replicas == 1
    assert stopped.logged - stopped.made == set(last)


@pytest.mark.fault
@pytest.mark.process
def test_nothing_is_lost_on_a_stop(stopped):
    last = json.loads(stopped.reply.partition(b"\r\n\r\n")[2])["prediction_ids"]
    assert len(stopped.made) == 200
    assert stopped.logged == stopped.made | set(last)


@pytest.mark.process
def test_log_lines_are_json_and_access_is_not_logged(stopped):
    lines = [json.loads(line) for line in stopped.lines]
    assert any(line["message"] == "serving houses version 1" for line in lines)
    assert not any("/predict" in line["message"] for line in lines)


def test_an_unexpected_fault_is_a_500_without_a_traceback_and_a_log_line_with_one(lab, caplog):
    """A graph that fails on some rows only, and so passes every check at loading."""
    folder = lab.home / "fragile"
    models.build(folder)
    models.make_fragile(folder)
    lab.promote(lab.register(folder))
    service = lab.serve()
    caplog.set_level(logging.INFO)
    caplog.handler.setFormatter(JsonFormatter())
    row = {f.name: f.example for f in models.FEATURES} | {"area": 1999.0}
    reply = service.http.post("/predict", json=row, headers={"X-Request-ID": "find-me"})
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] == "find-me"
    assert set(reply.json()) == {"detail"}
    assert "Traceback" not in reply.text
    assert "finite" not in reply.text
    [line] = [json.loads(x) for x in caplog.text.splitlines() if "find-me" in x]
    assert "Traceback" in line["traceback"]
    assert service.metric("inference_errors_total", use_case="houses", kind="internal") == 1
    assert service.predict()
