"""The load test against the real prediction API: its report, and its message when it can't run."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import httpx
import psutil
import pytest

from mlops_lab.local.processes import Process, free_ports
from mlops_lab.settings import REPOSITORY
from tests.support import contracts, processes
from tests.support.cases import copy_quick

pytestmark = pytest.mark.xdist_group("pages")

FOLDER = REPOSITORY / "locust"
SHORT = ("--most", "8", "--hold", "1", "--minutes", "1")


def load_test(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(FOLDER / "load_test.py"), *arguments]
    environment = processes.keyed() | variables
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)


@pytest.fixture
def modules(monkeypatch):
    """The folder's own modules that need no Locust, which would patch this process."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import load_report
    import load_rows

    return load_rows, load_report


@pytest.mark.parametrize("use_case", ["housing", "diabetes", "covertype"])
def test_the_contract_accepts_the_rows_and_they_differ(modules, use_case):
    contract = getattr(contracts, use_case)()
    made = modules[0].rows(contract, 300, Random(1))
    contract.read(made)
    assert len({json.dumps(row) for row in made}) > 100
    assert any(value is None for row in made for value in row.values())


@pytest.mark.process
def test_the_report_names_the_users_held_for_every_use_case(inference, tmp_path):
    done = load_test("--url", inference.url, *SHORT, "--bound", "5000", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["users"] == 8
    assert report["held"] == [8, 8]
    assert report["line"].startswith("The API holds at least 8 users at once")
    assert report["line"] in done.stdout
    assert {"housing", "diabetes", "covertype"} <= set(report["use_cases"])
    assert all(step["requests"] and not step["failures"] for step in report["steps"])
    assert (tmp_path / "line.txt").read_text().strip() == report["line"]
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text()
    for use_case in ("housing", "diabetes", "covertype"):
        assert f"{use_case}: one row" in page


@pytest.mark.process
def test_without_a_running_lab_a_small_one_is_booted_and_removed(tmp_path):
    copy_quick(tmp_path / "use_cases")
    own = {"LAB_INFERENCE_PORT": str(free_ports(1)[0]), "TMPDIR": str(tmp_path / "tmp")}
    own["LAB_USE_CASES"] = str(tmp_path / "use_cases")
    (tmp_path / "tmp").mkdir()
    rules = f"LOAD_ARGS=--use-cases housing {' '.join(SHORT)} --bound 5000 --out {tmp_path / 'out'}"
    environment = processes.keyed() | own
    done = subprocess.run(
        ["make", "-s", "load-test", rules],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=290,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no running lab was found" in done.stdout
    assert json.loads((tmp_path / "out" / "report.json").read_text())["use_cases"] == ["housing"]
    assert left_behind(tmp_path) == []
    assert list((tmp_path / "tmp").glob("lab-*")) == []


@pytest.mark.process
def test_a_sigterm_during_the_load_leaves_no_process(inference, tmp_path):
    command = [sys.executable, str(FOLDER / "load_test.py"), "--url", inference.url]
    command += ["--hold", "60", "--out", str(tmp_path / "out")]
    environment = processes.keyed()
    test = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while len(left_behind(tmp_path)) < 2:  # itself and the search
            assert test.poll() is None
            assert time.monotonic() < end, "no search was started"
            time.sleep(0.2)
        test.send_signal(signal.SIGTERM)
        assert test.wait(60) == 130
    finally:
        test.kill()
    assert left_behind(tmp_path) == []


def left_behind(folder: Path) -> list[str]:
    """The command lines of the processes whose arguments or LAB_HOME name the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            whole = " ".join([*process.cmdline(), process.environ().get("LAB_HOME", "")])
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if str(folder) in whole:
            found.append(whole)
    return found


@pytest.mark.process
def test_a_bound_that_no_step_holds_is_reported_with_the_reason(inference, tmp_path):
    done = load_test("--url", inference.url, *SHORT, "--bound", "0.001", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    rule = "(bound: 95 % of the answers within 0.001 ms, no error)"
    assert f"The API doesn't hold 5 users, the fewest tried {rule}: 95 %" in done.stdout
    assert json.loads((tmp_path / "report.json").read_text())["users"] == 0


@pytest.mark.parametrize(
    ("held", "in_time", "words"),
    [
        ([100, 195], True, "No result on a busy machine: the searches held 100 and 195 users"),
        ([100, 122], False, "The time limit ended the test before both searches were complete"),
    ],
)
def test_searches_that_disagree_or_are_incomplete_give_no_number_of_users(modules, held, in_time, words):
    step = {"search": 1, "users": 100, "broke": "", "per_second": 99.0}
    found = modules[1].Finding(["housing"], 100.0, held, abs(held[0] - held[1]) < 50, 4000, in_time, [step])
    assert found.users is None
    assert words in found.line


@pytest.mark.process
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://192.0.2.7:8085", "is not on this machine; a load test is only for 127.0.0.1"),
        ("http://127.0.0.1:1", "doesn't answer"),
    ],
)
def test_an_address_that_cannot_be_tested_is_one_line(url, words, tmp_path):
    done = load_test("--out", str(tmp_path), LAB_INFERENCE_URL=url)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
def test_a_service_without_a_model_is_one_line(supervisor, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    empty = processes.started(supervisor, processes.inference("inference-nothing", home, "/health"))
    try:
        done = load_test("--url", empty.url, "--out", str(tmp_path / "out"))
    finally:
        supervisor.stop(empty)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: no model is served yet; train one first")
    assert "Traceback" not in done.stderr


@pytest.fixture
def locust_page(supervisor, tmp_path):
    """Locust's own page, started as in the stack."""
    started = []

    def start(url: str) -> Process:
        command = ["-m", "locust", "-f", str(FOLDER / "locustfile.py")]
        command += ["--web-host", "127.0.0.1", "--web-port", "{port}"]
        page = processes.server("locust", command, tmp_path, "/", LAB_INFERENCE_URL=url)
        started.append(page)
        return processes.started(supervisor, page)

    yield start
    supervisor.stop(*started)


def swarm(page: Process) -> dict:
    """Two users for some seconds, with another host in the form. Returns the statistics of Locust's page."""
    form = {"user_count": 2, "spawn_rate": 2, "host": "http://127.0.0.1:1"}
    assert httpx.post(f"{page.url}/swarm", data=form, timeout=30).json()["success"]
    shown: dict = {}
    for _ in range(60):
        shown = httpx.get(f"{page.url}/stats/requests", timeout=30).json()
        if shown["stats"][-1]["num_requests"] >= 3 or shown["errors"]:
            break
        time.sleep(0.5)
    assert httpx.post(f"{page.url}/stop", timeout=30).json()["success"]
    return shown


@pytest.mark.process
def test_locusts_page_sends_requests_only_to_the_labs_api(locust_page, inference):
    shown = swarm(locust_page(inference.url))
    assert shown["errors"] == []
    assert {entry["name"].split(":")[0] for entry in shown["stats"][:-1]} <= set(
        httpx.get(f"{inference.url}/ready", timeout=30).json()["models"]
    )


@pytest.mark.process
def test_locusts_page_shows_that_the_api_is_unreachable(locust_page):
    shown = swarm(locust_page(processes.away()))
    assert "doesn't answer" in shown["errors"][0]["error"]
