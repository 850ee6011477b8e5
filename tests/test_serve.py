"""The start of each service: flags, settings and ports, with one line and one exit status for each fault."""

import os
import socket
import subprocess
import sys

import pytest

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
