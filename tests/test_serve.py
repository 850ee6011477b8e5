"""The start of each service: flags, settings and ports, with one line and one exit status for each fault."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from itertools import product

import pytest

from mlops_lab import asgi

MODULES = ["inference", "datos", "gradio_app", "observability.exporter"]
NAMES = {"observability.exporter": "exporter"}
PORTS = {
    "inference": "LAB_INFERENCE_PORT",
    "datos": "LAB_DATOS_PORT",
    "gradio_app": "LAB_GRADIO_PORT",
    "observability.exporter": "LAB_EXPORTER_PORT",
}


@pytest.fixture
def start(tmp_path, monkeypatch, capfd):
    """Calls a service's main in this process; returns its exit status and its text on stderr."""
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LAB_HOME", str(tmp_path))

    def _start(module: str, *arguments: str, **variables: str) -> tuple[int, str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        main = pytest.importorskip(f"{module}.__main__").main
        capfd.readouterr()
        status = main(arguments)
        return status, capfd.readouterr().err

    return _start


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        ("inference", "LAB_INFERENCE_POLL", "often"),
        ("inference", "LAB_INFERENCE_POLL", "0"),
        ("inference", "LAB_INFERENCE_MAX_ROWS", "-1"),
        ("inference", "LAB_MLFLOW_PORT", "70000"),
        ("inference", "LAB_API_KEYS", "caller predict"),
        ("inference", "LAB_API_KEYS_FILE", "/nowhere/keys"),
        ("datos", "LAB_DATOS_SCALE", "9"),
        ("datos", "LAB_DATOS_INTERVAL", "soon"),
        ("gradio_app", "LAB_PAGE_REFRESH", "soon"),
        ("observability.exporter", "LAB_EXPORTER_PROBES", "mlflow"),
    ],
)
def test_a_wrong_setting_is_one_line_and_status_2(start, module, variable, value):
    status, errors = start(module, **{variable: value})
    assert status == 2
    assert errors.startswith(f"{NAMES.get(module, module)}: setting {variable}: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("port", ["x", "70000"])
def test_a_wrong_port_is_one_line_and_status_2(start, module, port):
    status, errors = start(module, "--port", port)
    assert status == 2
    assert errors.startswith(f"{NAMES.get(module, module)}: setting {PORTS[module]}: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("module", MODULES)
def test_a_taken_port_is_one_line_and_status_1(start, module, taken):
    name = NAMES.get(module, module)
    line = (
        f"{name}: can't listen on 127.0.0.1:{taken} (Address already in use); "
        f"choose another port with --port or {PORTS[module]}\n"
    )
    assert start(module, "--port", str(taken)) == (1, line)
    # The variable counts when there is no flag.
    assert start(module, **{PORTS[module]: str(taken)}) == (1, line)


@pytest.mark.parametrize("module", MODULES)
def test_help_is_printed_without_reading_the_settings(start, module, capfd):
    with pytest.raises(SystemExit) as ended:
        start(module, "--help", LAB_SECRETS_DIR="/", **{PORTS[module]: "x"})
    assert ended.value.code == 0
    text = capfd.readouterr().out
    assert f"usage: python -m {module}" in text
    assert PORTS[module] in text


def test_a_secrets_file_is_a_setting_and_its_fault_is_named_like_one(start, tmp_path):
    (tmp_path / "lab_inference_poll").write_text("often")
    status, errors = start("inference", LAB_SECRETS_DIR=str(tmp_path))
    assert status == 2
    assert "setting LAB_INFERENCE_POLL: " in errors


def test_an_unusable_spool_is_one_line_and_status_1(start, tmp_path):
    (tmp_path / "file").write_text("")
    status, errors = start("inference", "--port", "0", LAB_INFERENCE_SPOOL=str(tmp_path / "file"))
    assert status == 1
    assert "LAB_INFERENCE_SPOOL" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("text", ["{", "[1]", '{"positions": {"realtor/1": 3}}'])
def test_a_damaged_file_of_positions_is_one_line_and_status_1(start, tmp_path, text):
    (tmp_path / "positions.json").write_text(text)
    status, errors = start("datos", "--port", "0", LAB_DATOS_STATE=str(tmp_path / "positions.json"))
    assert status == 1
    assert "remove it" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.process
def test_a_real_process_ends_with_the_same_line_and_status(tmp_path, taken):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    command = [sys.executable, "-m", "datos", "--port", str(taken)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("datos: can't listen on ")
    done = subprocess.run([*command[:-1], "x"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.fixture(scope="module")
def server():
    """A server and its address. Its app answers with the number of bytes of the body.

    At `/unread` it answers before the body is there, at `/long` with 16 MB. A request must arrive, and its reply be
    taken, within a second.
    """

    async def app(scope, receive, send):
        size, more = 0, scope["path"] != "/unread"
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        body = b"x" * 16_000_000 if scope["path"] == "/long" else f"{size:7}".encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = asgi.server(_no_lifespan(app), receive_seconds=1, send_seconds=1)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield server, listener.getsockname()
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(server):
    return server[1]


def _no_lifespan(app):
    async def wrapped(scope, receive, send):
        assert scope["type"] == "http"
        await app(scope, receive, send)

    return wrapped


def _all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


SLOW = b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "part"),
    [
        (False, b""),
        *product((False, True), (b"POST / HTT", SLOW, SLOW.replace(b"/", b"/unread", 1))),
    ],
)
def test_a_request_that_never_arrives_whole_is_ended_with_one_reply(address, first, part):
    with socket.create_connection(address, timeout=60) as connection:
        if first:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
            assert connection.recv(65536).endswith(b"      4")
        connection.sendall(part)
        said = _all(connection)
    assert said.count(b"HTTP/1.1 ") == (1 if part else 0)
    if b"unread" in part:
        assert said.endswith(b"      0")
    elif part:
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert f"content-length: {len(body)}".encode() in head
        assert json.loads(body) == {"detail": "the request did not arrive whole within 1 s"}


@pytest.mark.slow
def test_of_two_requests_in_one_packet_the_slow_one_is_refused_after_the_reply_to_the_other(address):
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(SLOW + b"-more" + SLOW)
        said = _all(connection)
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"408"]


@pytest.mark.slow
def test_a_client_that_does_not_take_its_reply_loses_the_connection(server):
    running, address = server
    with socket.create_connection(address, timeout=60) as idle:
        idle.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(20)
        end = time.monotonic() + 60
        while any(c.client == idle.getsockname() for c in list(running.server_state.connections)):
            assert time.monotonic() < end, "the reply is held"
            time.sleep(0.05)


def test_a_head_without_an_end_is_refused_while_a_long_body_is_not(address):
    body = b"x" * 300_000
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert connection.recv(65536).endswith(b" 300000")
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"x" * 66_000)
        assert _all(connection).startswith(b"HTTP/1.1 400")
