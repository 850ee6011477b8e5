"""The health check of the lab's own images: its exit status, and the reason that it gives."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlops_lab.settings import REPOSITORY

pytestmark = pytest.mark.process

SCRIPT = REPOSITORY / "stack" / "images" / "lab_check.py"
LOGIN = "Basic " + base64.b64encode(b"reader:word").decode()


class Service(BaseHTTPRequestHandler):
    """Answers 200 with a nested value at /health, asks for a login at /private, and answers 503 at any other path."""

    def do_GET(self) -> None:
        allowed = self.path == "/health" or (
            self.path == "/private?id=0" and self.headers["Authorization"] == LOGIN
        )
        self.send_response(200 if allowed else 503)
        self.end_headers()
        self.wfile.write(json.dumps({"database": {"status": "healthy"}}).encode())

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def lab_check(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-IS", SCRIPT, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("expected", [[], ["database.status=healthy"]])
def test_a_healthy_service_passes(port, expected):
    done = lab_check(f"{port}/health", *expected)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["/other"], "status 503"),
        (["/health", "database.status=lost"], "database.status is healthy"),
        (["/health", "queue.status=healthy"], "queue"),
        (["/private?id=0"], "status 503"),
    ],
)
def test_an_unhealthy_service_fails_with_the_reason(port, words, reason):
    path, *rest = words
    done = lab_check(f"{port}{path}", *rest)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_password_of_a_login_is_read_from_its_file(port, tmp_path):
    (tmp_path / "password").write_text("word")
    assert lab_check(f"{port}/private?id=0", "--login", f"reader:{tmp_path / 'password'}").returncode == 0


def test_a_closed_port_fails():
    with HTTPServer(("127.0.0.1", 0), Service) as closed:
        free = closed.server_port
    done = lab_check(f"{free}/health")
    assert done.returncode == 1
    assert "refused" in done.stderr
