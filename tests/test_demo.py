"""`make demo` with every service and the whole loop on Airflow. Afterwards no process is left."""

import csv
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import expect

from datos.synthetic.market import Market
from mlops_lab.local.airflow_client import AirflowClient
from mlops_lab.local.processes import free_ports
from mlops_lab.settings import REPOSITORY
from tests.support.cases import copy_quick
from tests.support.flats import FLATS
from tests.support.processes import LAB

pytestmark = [pytest.mark.demo, pytest.mark.timeout(1500)]

# Three batches from a file of the user's. What the loop makes of all batches of the synthetic market, and how good the
# model gets at the demo's own size, is asked of the same use case in tests/use_cases, without the services.
ROWS = 1000
PORTS = ("AIRFLOW", "DATA_API", "MLFLOW", "INFERENCE", "STREAMLIT", "GRADIO")


def left_behind(home: Path, env: dict[str, str]) -> list[str]:
    """Processes that still belong to a lab, and ports of it that something listens on.

    The ports count too, since a process that renames itself, as Airflow's do, may hide its environment.
    """
    ports = {int(value) for key, value in env.items() if key.startswith("LAB_") and key.endswith("_PORT")}
    listening = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    found = [f"port {port}" for port in sorted(ports & listening)]
    for process in psutil.process_iter():
        try:
            if process.environ().get("LAB_HOME") == str(home):
                found.append(" ".join(process.cmdline())[:200])
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            pass
    return found


def beyond_this_machine(demo: int) -> list[str]:
    """The addresses at which a demo's processes listen, but for those of this machine alone."""
    family = {demo, *(child.pid for child in psutil.Process(demo).children(recursive=True))}
    sockets = [
        c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in family
    ]
    assert len(sockets) >= len(PORTS)
    return [f"{c.laddr.ip}:{c.laddr.port}" for c in sockets if c.laddr.ip not in ("127.0.0.1", "::1")]


@pytest.fixture(scope="module")
def use_cases(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "use_cases"
    copy_quick(folder)
    return folder


@pytest.fixture(scope="module")
def quarantined(use_cases) -> list[int]:
    """Puts `data/realtor.csv` into the lab's folder: cheap homes, dear homes, some of both again.

    Returns the number of bad rows in each batch.
    """
    market = Market(scale=0.01)
    parts = [market.batch(number) for number in (1, 5)]
    rows = [part.rows[:ROWS] for part in parts]
    bad = [{at for at in part.bad if at < ROWS} for part in parts]
    again, half = [row for part in rows for row in part[: ROWS // 2]], ROWS // 2
    folder = use_cases.parent / "lab" / "data"
    folder.mkdir(parents=True)
    with (folder / "realtor.csv").open("w", newline="") as file:
        csv.writer(file).writerows([market.columns, *rows[0], *rows[1], *again])
    (folder / "datasets.toml").write_text(f"[realtor]\nrows_per_batch = {ROWS}\n")
    return [*map(len, bad), sum(at < half for part in bad for at in part)]


@pytest.fixture(scope="module")
def env(use_cases, quarantined):
    """A lab of its own: its folder, its ports, and nothing of the caller's LAB_ variables."""
    home = use_cases.parent / "lab"
    ports = {f"LAB_{name}_PORT": str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LAB_", "AIRFLOW"))}
    own = {"LAB_HOME": str(home), "LAB_USE_CASES": str(use_cases)}
    return clean | ports | own | {"COLUMNS": "150"}


@pytest.fixture(scope="module")
def said(env) -> str:
    """The output of one whole `make demo ONCE=1 BATCHES=2`."""
    command = ["make", "-s", "demo", "ONCE=1", "BATCHES=2"]
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=1400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def status(env) -> dict:
    done = subprocess.run(
        [LAB, "status", "housing", "--json"], env=env, capture_output=True, text=True, timeout=120
    )
    return json.loads(done.stdout)[0]


def test_it_prints_its_progress_and_a_report(said, env):
    for words in (
        "Airflow is up",
        "batch 1: train, there is no champion yet",
        "promoted, first champion",
        "first prediction: Price = ",
        "the loop is paused after 2 batches; to go on, unpause housing_training in Airflow and trigger it",
        "the loop is over",
        "naive baseline",
        f"http://127.0.0.1:{env['LAB_STREAMLIT_PORT']}",
    ):
        assert words in said, said
    assert left_behind(Path(env["LAB_HOME"]), env) == []


def test_a_paused_loop_leaves_no_run_that_hangs(said, env):
    with closing(sqlite3.connect(Path(env["LAB_HOME"]) / "airflow" / "airflow.db")) as db:
        runs = list(db.execute("SELECT state FROM dag_run WHERE dag_id = 'housing_training'"))
        [paused] = db.execute("SELECT is_paused FROM dag WHERE dag_id = 'housing_training'")
    assert (runs, paused) == ([("success",)] * 2, (1,))


def test_a_second_start_continues_and_a_new_file_becomes_a_use_case_while_it_runs(
    said, env, use_cases, quarantined, tmp_path, request
):
    output = tmp_path / "out.txt"
    with output.open("w") as out:
        demo = subprocess.Popen([LAB, "demo", "--gradio"], env=env, stdout=out, stderr=out)
    try:
        _until(lambda: "the lab is up" in output.read_text(), demo, 400, output)
        assert "2 batches from earlier runs; continuing" in output.read_text()
        assert "batch 3: skip" in output.read_text()
        # Every batch is stored once, and the last one, with nothing new, is skipped.
        found = status(env)
        batches = found["batches"]
        assert [(b["batch_number"], b["state"]) for b in batches] == [(n, "done") for n in range(1, 4)]
        assert [b["decision"] for b in batches] == ["train", "train", "skip"]
        assert all(quarantined)
        assert [b["quarantined"] for b in batches] == quarantined
        assert found["champion"]["test"] < 0.5 * found["champion"]["baseline"]
        migrations = (Path(env["LAB_HOME"]) / "logs" / "airflow-migration.log").read_text()
        assert migrations.count("Database migration done") == 1  # by the first start
        assert f"http://127.0.0.1:{env['LAB_GRADIO_PORT']}" in output.read_text()
        inference = f"http://127.0.0.1:{env['LAB_INFERENCE_PORT']}"
        assert httpx.get(f"{inference}/ready").status_code == 200

        data = Path(env["LAB_HOME"]) / "data" / "flats.csv"
        data.write_text(_flats_csv())
        (use_cases / "flats.py").write_text(FLATS)
        password = (Path(env["LAB_HOME"]) / "secrets" / "airflow_admin").read_text()
        airflow = AirflowClient(f"http://127.0.0.1:{env['LAB_AIRFLOW_PORT']}", "admin", password)
        # The loop is over, so what is served is checked, and no component of Airflow is away.
        assert "monitoring" in airflow.active_dags()
        _until(lambda: _healthy(airflow), demo, 120, output)
        airflow.wait_for_dag("flats_training")
        airflow.unpause("flats_training")
        _until(lambda: httpx.get(f"{inference}/models/flats").status_code == 200, demo, 300, output)
        row = {"area": 50, "floor": 2, "district": "north", "balcony": True, "built": "1990-05-15"}
        reply = httpx.post(f"{inference}/predict/flats", json=row).json()
        assert 300 < reply["predictions"][0] < 900
        assert "/predict/flats" in httpx.get(f"{inference}/openapi.json").json()["paths"]
        assert beyond_this_machine(demo.pid) == []
        [run] = airflow.runs("flats_training")[-1:]
        path = f"/api/v2/dags/flats_training/dagRuns/{run['dag_run_id']}/taskInstances/land/logs/1"
        assert "batch 1 landed" in airflow._ask("GET", path, params={"full_content": True}).text

        page = request.getfixturevalue("browser").new_page()
        for port, path in (("STREAMLIT", "predict"), ("GRADIO", "")):
            page.goto(f"http://127.0.0.1:{env[f'LAB_{port}_PORT']}/{path}?use_case=flats")
            area = page.get_by_label("Living area (m²)", exact=True)
            expect(area).to_be_visible(timeout=120_000)
            area.fill("50")
            page.get_by_role("button", name="Predict", exact=True).click()
            expect(page.get_by_text(re.compile(r"[Bb]y version \d+ of flats"))).to_be_visible(timeout=60_000)
        # A person takes a promotion back, with the login that the demo printed.
        before = found["champion"]["version"]
        page.goto(f"http://127.0.0.1:{env['LAB_STREAMLIT_PORT']}/models?use_case=housing")
        page.get_by_role("button", name="Roll back …").click(timeout=120_000)
        page.get_by_label("User").fill("admin")
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_label("Reason; it is recorded with your name").fill("callers complain", timeout=60_000)
        page.get_by_role("button", name="Roll back to version").click()
        expect(page.get_by_text("is champion again.")).to_be_visible(timeout=180_000)
        assert "/models?use_case=housing" in page.url
        page.close()
        with closing(sqlite3.connect(Path(env["LAB_HOME"]) / "RawData.db")) as db:
            rows = "SELECT challenger, decided_by, reason FROM promotions WHERE outcome = 'rolled back'"
            assert list(db.execute(rows)) == [(before, "admin", "rolled back by admin: callers complain")]
    finally:
        demo.send_signal(signal.SIGTERM)
        ended = demo.wait(60)
    assert ended == 130
    assert left_behind(Path(env["LAB_HOME"]), env) == []


def test_a_taken_port_is_one_clear_line(env, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own = env | {"LAB_HOME": str(tmp_path / "lab"), "LAB_MLFLOW_PORT": str(port)}
        done = subprocess.run([LAB, "demo"], env=own, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    holder = f"process {os.getpid()} ({psutil.Process().name()})"
    assert (
        done.stderr.strip()
        == f"error: port {port} (MLflow) is taken by {holder}; stop what listens there or set LAB_MLFLOW_PORT"
    )
    assert left_behind(tmp_path / "lab", env) == []


def test_two_interrupts_in_the_middle_of_the_start_leave_no_process(env, tmp_path):
    home = tmp_path / "lab"
    own = env | {"LAB_HOME": str(home)}
    demo = subprocess.Popen([LAB, "demo"], env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _until(lambda: len(left_behind(home, own)) >= 4, demo, 120)
    for _ in range(2):
        demo.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert demo.wait(60) == 130
    assert left_behind(home, own) == []


def test_a_service_that_dies_ends_the_demo_with_its_name_and_no_process(env, tmp_path):
    home = tmp_path / "lab"
    own = env | {"LAB_HOME": str(home), "LAB_DATOS_SCALE": "nonsense"}
    done = subprocess.run([LAB, "demo"], env=own, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "Data API ended with status 2; see " in done.stderr
    assert left_behind(home, own) == []


def _until(holds, process: subprocess.Popen, timeout: float, output: Path = Path(os.devnull)) -> None:
    """Waits, and fails with the output when the process ends or time is up."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert process.poll() is None, f"it ended with {process.returncode}: {output.read_text()}"
        assert time.monotonic() < deadline, f"time is up: {output.read_text()}"
        time.sleep(0.5)


def _healthy(airflow: AirflowClient) -> bool:
    found = airflow._ask("GET", "/api/v2/monitor/health").json()
    return len(found) == 4 and all(component["status"] == "healthy" for component in found.values())


def _flats_csv() -> str:
    from tests.support.flats import flats

    lines = [",".join(map(str, row)) for row in flats(400)]
    return "\n".join(["area,floor,district,balcony,built,rent", *lines]) + "\n"
