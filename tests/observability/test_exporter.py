"""The exporter as its own process: over a real ledger, with services that answer and services that don't."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from mlops_lab.data.predictions import Served
from mlops_lab.data.store import Store, now
from mlops_lab.data.tables import BATCHES, PROMOTIONS


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()
        self.wfile.write(
            b'{"metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"},'
            b' "triggerer": {"status": null}}'
        )

    def log_message(self, *_):
        pass


@pytest.fixture
def services():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def ledger(tmp_path) -> str:
    url = f"sqlite:///{tmp_path / 'RawData.db'}"
    store = Store(url, url)
    store.create_tables()
    common = {"use_case": "flats", "source": "test", "gap": 0}
    with store.raw.begin() as db:
        for values in (
            {"batch_number": 1, "digest": "a", "payload": "a", "state": "done", "received": 100, "stored": 90,
             "quarantined": 10, "clean": 80, "decision": "train", "landed_at": now() - timedelta(hours=3)},
            {"batch_number": 4, "digest": "b", "payload": "b", "state": "prepared", "received": 50, "stored": 20,
             "quarantined": 30, "clean": 20, "gap": 2, "landed_at": now() - timedelta(hours=1)},
        ):  # fmt: skip
            db.execute(insert(BATCHES).values(**common | values))
        for sequence, score in ((1, 0.5), (2, 0.4)):
            db.execute(insert(PROMOTIONS).values(
                use_case="flats", sequence=sequence, challenger=sequence, outcome="promoted", reason="better",
                metric="rmse", challenger_score=score, decided_at=now(),
            ))  # fmt: skip
    Served(store.raw).put_check(
        use_case="flats", version=2, rows=700, psi=0.3, feature="area", answered=120, metric="rmse",
        live_score=0.9, test_score=0.4, passed=True, retrain=True, reason="drift", batch_id=2,
    )  # fmt: skip
    return url


@pytest.fixture
def exporter(request):
    started = []

    def start(**settings: str) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
        env |= {f"LAB_EXPORTER_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "observability.exporter", "--port", str(port)]
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        started.append(process)
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
                return f"http://127.0.0.1:{port}/metrics"
            except httpx.HTTPError:
                assert process.poll() is None, process.stderr.read()
                assert time.monotonic() < deadline
                time.sleep(0.2)

    start.processes = started
    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def samples(url: str) -> dict[tuple, float]:
    text = httpx.get(url, timeout=30).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.values()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def test_the_ledger_is_told_in_figures(exporter, ledger):
    found = samples(exporter(raw_url=ledger))
    assert found["lab_up", "mysql"] == 1
    assert found["lab_batches", "done", "flats"] == found["lab_batches", "flats", "prepared"] == 1
    assert found["lab_rows_total", "flats", "received"] == 150
    assert found["lab_rows_total", "clean", "flats"] == 100
    assert found["lab_batches_missing", "flats"] == 2
    assert found["lab_last_batch_quarantine_ratio", "flats"] == 0.6
    assert found["lab_unfinished_batch_seconds", "flats"] == pytest.approx(3600, abs=120)
    assert found["lab_decisions", "flats", "train"] == 1
    assert found["lab_promotions", "flats", "promoted"] == 2
    assert found["lab_promotion_score", "challenger", "flats", "rmse"] == 0.4
    assert found["lab_monitoring_bound_passed", "flats"] == 1
    assert found["lab_monitoring_psi", "flats"] == 0.3
    assert found["lab_model_score", "flats", "live", "rmse"] == 0.9
    assert found["lab_disk_free_bytes",] < found["lab_disk_size_bytes",]


def test_what_does_not_answer_is_down_and_hides_nothing_else(exporter, ledger, services):
    with socket.socket() as silent:  # takes connections and says nothing
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        url = exporter(
            raw_url=ledger,
            postgres_url=f"postgresql+psycopg2://monitor:secret-word@127.0.0.1:{port}/postgres",
            redis_url="redis://monitor:secret-word@127.0.0.1:1/0",
            airflow_url=f"{services}/health",
            probes=f'{{"mlflow": "{services}/", "streamlit": "{services}/broken"}}',
            timeout="1",
        )
        found = samples(url)
    up = {
        service: value for (name, *labels), value in found.items() if name == "lab_up" for service in labels
    }
    assert up == {"mysql": 1, "postgres": 0, "redis": 0, "airflow": 1, "mlflow": 1, "streamlit": 0}
    assert found["lab_airflow_component_up", "metadatabase"] == 1
    assert found["lab_airflow_component_up", "scheduler"] == 0
    assert ("lab_airflow_component_up", "triggerer") not in found
    (process,) = exporter.processes
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert '"message":"redis is down' in said
    assert said.count("redis is down") == 1  # not once a scrape
    assert "secret-word" not in said


def test_a_setting_that_makes_no_sense_is_one_clear_line(exporter):
    env = os.environ | {"LAB_EXPORTER_PROBES": "mlflow"}
    done = subprocess.run(
        [sys.executable, "-m", "observability.exporter"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "LAB_EXPORTER_PROBES" in done.stderr
    assert "Traceback" not in done.stderr
