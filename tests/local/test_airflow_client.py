"""The client of Airflow's API: what it does when Airflow doesn't answer, fails, or refuses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mlops_lab.local import airflow_client
from mlops_lab.local.airflow_client import AirflowClient, AirflowError

CUT = 0  # instead of a status: the connection ends without a reply


class Airflow(ThreadingHTTPServer):
    """Sends one status of `will` a request, then 200; logins are valid. `asked` has the requests."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.will: list[int] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        status = 201
        if self.path != "/auth/token":
            self.server.asked.append(body)
            status = self.server.will.pop(0) if self.server.will else 200
        if status == CUT:
            self.close_connection = True
            return
        reply = json.dumps({"access_token": "of this test", "dag_runs": []}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PATCH = _reply  # noqa: N815 (http.server calls these names)

    def log_message(self, *_arguments) -> None:
        pass


@pytest.fixture
def airflow(monkeypatch) -> Iterator[Airflow]:
    server = Airflow()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(airflow_client.time, "sleep", lambda _: None)
    yield server
    server.shutdown()
    server.server_close()


def client(airflow: Airflow, **options) -> AirflowClient:
    return AirflowClient(airflow.url, "admin", "of this test", **options)


def test_a_failure_that_passes_is_not_seen(airflow):
    airflow.will = [500, CUT, 503]
    assert client(airflow).runs("housing_training") == []
    assert len(airflow.asked) == 4


def test_a_request_that_is_sent_again_queues_one_run(airflow):
    airflow.will = [CUT, 409]
    run = client(airflow).trigger("housing_training")
    first, again = (json.loads(body)["dag_run_id"] for body in airflow.asked)
    assert first == again == run


def test_a_token_that_is_no_longer_valid_is_replaced_once(airflow):
    asking = client(airflow)
    asking.pause("housing_training")
    airflow.will = [401]
    asking.pause("housing_training")
    airflow.will = [401, 401]
    with pytest.raises(AirflowError, match="Airflow answers 401 to PATCH"):
        asking.pause("housing_training")


def test_a_refusal_is_final_and_one_line(airflow):
    airflow.will = [404]
    with pytest.raises(AirflowError, match="Airflow answers 404 to GET"):
        client(airflow).runs("nothing")
    assert len(airflow.asked) == 1


def test_patience_has_an_end(airflow, monkeypatch):
    monkeypatch.setattr(airflow_client, "PATIENCE", 0)
    airflow.will = [CUT]
    with pytest.raises(AirflowError, match="Airflow doesn't answer: RemoteProtocolError: "):
        client(airflow).runs("housing_training")


def test_a_process_that_has_ended_ends_the_wait(airflow):
    def ended() -> None:
        raise ProcessLookupError("Airflow ended with status 1")

    airflow.will = [503]
    with pytest.raises(ProcessLookupError):
        client(airflow, check=ended).runs("housing_training")
