"""The embedded services: what Airflow's tasks are forked from, and Streamlit with the options of its own file."""

import json
import resource
import socket
import stat
import subprocess
import sys
import threading
from http.client import HTTPConnection

import httpx
import pytest
import uvicorn

from datos.app import create_app
from datos.settings import DatosSettings
from mlops_lab.data.source import DataApi
from mlops_lab.local import embedded, warm
from mlops_lab.local.processes import Supervisor, free_ports, without
from mlops_lab.settings import Settings

WARM_UP = """
import sys
from mlops_lab.local import warm
warm.warm_up_dags()
warm.warm_up_tasks()
print(*sys.modules)
import importlib_metadata, mlflow.onnx
from onnx import helper
importlib_metadata.packages_distributions = lambda: sys.exit("listed again")
model = helper.make_model(helper.make_graph([], "empty", [], []))
mlflow.onnx.save_model(model, sys.argv[1], pip_requirements=["mlflow"])
"""


@pytest.mark.process
def test_the_warm_up_imports_every_module_and_the_next_model_is_saved_without_a_list_of_packages(tmp_path):
    # A process of its own, because other tests do the same in this one.
    command = [sys.executable, "-c", WARM_UP, str(tmp_path / "model")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert {*warm.MODULES, *warm.DAG_MODULES} <= set(done.stdout.split()), done.stderr


def _websocket(page, host: str) -> int:
    """The status of the reply to a browser that opens the page's websocket by this name."""
    server = HTTPConnection("127.0.0.1", page.port, timeout=60)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Host": f"{host}:{page.port}"}
    server.request("GET", "/_stcore/stream", headers=headers | {"Origin": f"http://{host}:{page.port}"})
    try:
        return server.getresponse().status
    finally:
        server.close()


@pytest.mark.process
def test_streamlit_listens_on_the_given_port_and_has_the_other_options_from_its_file(tmp_path):
    settings = Settings(home=tmp_path, streamlit_port=free_ports(1)[0])
    page = embedded.streamlit(settings)
    with Supervisor(tmp_path / "logs", without("LAB_", "STREAMLIT_")) as supervisor:
        supervisor.start(page)
        supervisor.wait(page, 120)
        printed = supervisor.log(page.name).read_text()
        # What a page of another site could do: reach it by a name of its own, and send a file without its token.
        upload = httpx.put(f"{page.url}/_stcore/upload_file/session/file", files={"file": b"a"})
        answers = [_websocket(page, host) for host in ("127.0.0.1", "localhost", "evil.example")]
    assert (upload.status_code, upload.text) == (403, "XSRF token missing or invalid")
    assert answers == [101, 101, 403]
    assert page.url in printed
    assert "usage statistics" not in printed


def test_the_page_writes_data_only_where_nobody_else_reaches_it(tmp_path):
    page = embedded.streamlit(Settings(home=tmp_path))
    assert page.env["LAB_DATA_FOLDER"] == str(tmp_path / "data")
    assert {"--server.allowedHosts=127.0.0.1", "--server.allowedHosts=localhost"} <= set(page.command)
    assert "LAB_DATA_FOLDER" not in embedded.streamlit(Settings(home=tmp_path, bind="0.0.0.0")).env
    # A Data API of somebody else doesn't serve the files of this folder.
    foreign = Settings(home=tmp_path, data_api_url="http://elsewhere/data")
    assert "LAB_DATA_FOLDER" not in embedded.streamlit(foreign).env


@pytest.mark.fault
def test_a_secret_is_made_once_and_an_empty_file_is_none(tmp_path, monkeypatch):
    settings, path = Settings(home=tmp_path), tmp_path / "secrets" / "reload_token"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))  # a full disk
    try:
        with pytest.raises(OSError, match="too large"):
            embedded.secret(settings, "reload_token")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not path.exists()
    path.touch()
    made = embedded.secret(settings, "reload_token")
    assert len(made) > 30
    assert (embedded.secret(settings, "reload_token"), path.read_text()) == (made, made)
    assert [stat.filemode(place.stat().st_mode) for place in (path, path.parent)] == [
        "-rw-------",
        "drwx------",
    ]

    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "passwords.json").touch()
    embedded.airflow_env(settings)
    password = embedded.secret(settings, "airflow_admin")
    assert json.loads((tmp_path / "airflow" / "passwords.json").read_text()) == {"admin": password}


@pytest.mark.process
def test_the_demo_loads_nothing_slow_before_its_services_start():
    code = "import mlops_lab.cli, mlops_lab.local.demo, sys; print({'mlflow', 'pandas', 'sqlalchemy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_airflows_database_is_migrated_once_by_each_release(tmp_path, monkeypatch):
    settings, home, runs = Settings(home=tmp_path), tmp_path / "airflow", []

    def migrate() -> None:
        runs.append(embedded.version("apache-airflow-core"))
        home.mkdir(exist_ok=True)
        (home / "airflow.db").touch()
        if len(runs) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embedded.migrate_airflow(settings, migrate)
    for _ in range(2):
        embedded.migrate_airflow(settings, migrate)
    assert len(runs) == 2
    (home / "airflow.db").unlink()
    embedded.migrate_airflow(settings, migrate)
    monkeypatch.setattr(embedded, "version", lambda name: "another release")
    for _ in range(2):
        embedded.migrate_airflow(settings, migrate)
    assert runs[2:] == [runs[0], "another release"]


@pytest.mark.process
def test_a_data_api_that_answers_is_used_only_when_its_positions_are_this_labs(tmp_path, monkeypatch):
    monkeypatch.delenv("LAB_DATA_API_URL", raising=False)
    running = DatosSettings(state=tmp_path / "own" / "data-api.json", scale=0.005)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(create_app(running), log_config=None))
        threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        for home, own in ((tmp_path / "own", True), (tmp_path / "other", False)):
            settings = Settings(home=home, data_api_port=port)
            with embedded.data_api(settings, lambda _: None) as reachable:
                assert (reachable.data_api_url == f"http://127.0.0.1:{port}/{{dataset}}") is own
                DataApi(reachable.data_api_url).fetch("covertype", home / "reply")
        server.should_exit = True
    assert (
        json.loads((tmp_path / "own" / "data-api.json").read_text())["positions"]["covertype/1"]["batch"] == 1
    )
    assert (
        json.loads((tmp_path / "other" / "data-api.json").read_text())["positions"]["covertype/1"]["batch"]
        == 1
    )


def test_a_file_in_the_labs_folder_is_served_by_its_data_api(tmp_path):
    process = embedded.data_api_service(Settings(home=tmp_path))
    assert process.env["LAB_DATOS_FOLDER"] == str(tmp_path / "data")
    assert (tmp_path / "data").is_dir()
    other = embedded.data_api_service(Settings(home=tmp_path, datos_folder=tmp_path / "other"))
    assert other.env["LAB_DATOS_FOLDER"] == str(tmp_path / "other")
