"""The process: its log, and a stop that lets requests finish. Its start is in tests/test_serve.py."""

import json
import signal
import socket
import time

from tests.inference.conftest import SLACK
from tests.support import models


def test_a_request_under_way_finishes_on_a_stop_and_is_logged(lab):
    lab.publish("houses")
    service = lab.serve()
    body = json.dumps({"rows": models.raw_rows(100)}).encode()
    head = (
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=SLACK) as connection:
        connection.sendall(head % len(body) + body[:100])
        time.sleep(0.5)  # the service has begun to read it
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert service.process.poll() is None
        connection.sendall(body[100:])
        reply = b"".join(iter(lambda: connection.recv(65536), b""))
    assert reply.startswith(b"HTTP/1.1 200")
    assert service.process.wait(SLACK) == 0
    made = json.loads(reply.partition(b"\r\n\r\n")[2])["prediction_ids"]
    assert {p.id for p in lab.predictions()} == set(made)


def test_log_lines_are_json_and_access_is_not_logged(lab):
    lab.publish("houses")
    service = lab.serve()
    service.predict()
    assert service.stop() == 0
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert any(line["message"] == "serving houses version 1" for line in lines)
    assert not any("/predict" in line["message"] for line in lines)


def test_an_unforeseen_fault_is_a_500_without_a_traceback_and_a_log_line_with_one(lab):
    """A graph that fails on some rows only, past every check at loading."""
    folder = lab.home / "fragile"
    models.build(folder)
    models.make_fragile(folder)
    lab.promote(models.register(lab.registry, folder, "houses"))
    service = lab.serve()
    row = {f.name: f.example for f in models.FEATURES} | {"area": 1999.0}
    reply = service.http.post("/predict", json=row, headers={"X-Request-ID": "find-me"})
    assert reply.status_code == 500
    assert reply.headers["x-request-id"] == "find-me"
    assert set(reply.json()) == {"detail"}
    assert "Traceback" not in reply.text
    assert "finite" not in reply.text
    [line] = [json.loads(x) for x in service.log.read_text().splitlines() if "find-me" in x]
    assert "Traceback" in line["traceback"]
    assert service.metric("inference_errors_total", use_case="houses", kind="internal") == 1
    assert service.predict()
