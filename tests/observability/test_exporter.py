"""The exporter over a real ledger, with services that answer and services that don't."""

import os
import signal
import sys
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from mlops_lab.data.database import connect, now
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.store import Store
from mlops_lab.data.tables import Batch, Check, Promotion
from mlops_lab.local.processes import Process, Supervisor, free_ports
from observability.exporter.collect import Collector
from observability.exporter.settings import ExporterSettings
from tests.support.processes import silent_address

EXPORTER = [sys.executable, "-m", "observability.exporter"]


def without_lab() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}


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
            # Landed, and not validated yet.
            {"batch_number": 5, "digest": "c", "payload": "c", "state": "landed", "landed_at": now()},
        ):  # fmt: skip
            db.execute(insert(Batch).values(**common | values))
        for sequence, score in ((1, 0.5), (2, 0.4)):
            db.execute(insert(Promotion).values(
                use_case="flats", sequence=sequence, challenger=sequence, outcome="promoted", reason="better",
                metric="rmse", challenger_score=score, decided_at=now(),
            ))  # fmt: skip
    check = Check(
        use_case="flats", version=2, rows=700, psi=0.3, feature="area", labelled=120, metric="rmse",
        live_score=0.9, test_score=0.4, passed=True, retrain=True, reason="drift", batch_id=2,
    )  # fmt: skip
    Ledger(store.raw).put_check(check)
    return url


def samples(text: str) -> dict[tuple, float]:
    """(metric, label values in alphabetical order) → value."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.values()))
            assert key not in found, f"{key} stands there twice"
            found[key] = sample.value
    return found


def exported(settings: ExporterSettings) -> str:
    """The exporter's page at a first scrape."""
    registry = CollectorRegistry()
    registry.register(Collector(settings))
    return generate_latest(registry).decode()


def test_the_ledger_is_exported(ledger):
    found = samples(exported(ExporterSettings(raw_url=ledger)))
    assert found["lab_up", "mysql"] == 1
    assert 0 < found["lab_probe_seconds", "mysql"] < 4
    assert found["lab_batches", "done", "flats"] == found["lab_batches", "flats", "prepared"] == 1
    assert found["lab_rows_total", "flats", "received"] == 150
    assert found["lab_rows_total", "clean", "flats"] == 100
    assert found["lab_batches_missing", "flats"] == 2
    assert found["lab_last_batch_quarantine_ratio", "flats"] == 0.6
    assert found["lab_last_batch_timestamp_seconds", "flats"] == pytest.approx(time.time(), abs=120)
    assert found["lab_unfinished_batch_seconds", "flats"] == pytest.approx(3600, abs=120)
    assert found["lab_decisions", "flats", "train"] == 1
    assert found["lab_promotions", "flats", "promoted"] == 2
    assert found["lab_promotion_score", "challenger", "flats", "rmse"] == 0.4
    assert ("lab_promotion_score", "champion", "flats", "rmse") not in found
    assert found["lab_monitoring_bound_passed", "flats"] == 1
    assert found["lab_monitoring_psi", "flats"] == 0.3
    assert found["lab_monitoring_timestamp_seconds", "flats"] == pytest.approx(time.time(), abs=120)
    assert found["lab_feedback_answered", "flats"] == 120
    assert found["lab_model_score", "flats", "live", "rmse"] == 0.9
    assert found["lab_disk_free_bytes",] < found["lab_disk_size_bytes",]


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
@pytest.mark.parametrize(
    ("service", "setting", "url"),
    [
        ("mysql", "raw_url", "mysql+pymysql://monitor@{}/RawData"),
        ("postgres", "postgres_url", "postgresql+psycopg2://monitor@{}/postgres"),
        ("redis", "redis_url", "redis://{}/0"),
        ("airflow", "airflow_url", "http://{}/health"),
        ("mlflow", "probes", '{{"mlflow": "http://{}/"}}'),
    ],
)
def test_while_a_source_is_away_its_figures_are_absent_and_not_zero(service, setting, url, fault):
    with silent_address() as address:
        settings = {setting: url.format(address if fault == "is silent" else "127.0.0.1:1"), "timeout": 0.5}
        found = samples(exported(ExporterSettings(**settings)))
    assert found.pop(("lab_up", service)) == 0
    assert {name for name, *_ in found} == {"lab_disk_free_bytes", "lab_disk_size_bytes"}


def test_in_an_outage_the_last_figures_are_not_exported_again(ledger):
    registry = CollectorRegistry()
    registry.register(Collector(ExporterSettings(raw_url=ledger)))
    before = samples(generate_latest(registry).decode())
    # A state without a batch is a known zero.
    assert before["lab_batches", "broken", "flats"] == 0
    with connect(ledger).begin() as db:
        db.exec_driver_sql("ALTER TABLE batches RENAME TO away")
    during = samples(generate_latest(registry).decode())
    assert during["lab_up", "mysql"] == 0
    assert {name for name, *_ in during} == {"lab_up", "lab_disk_free_bytes", "lab_disk_size_bytes"}
    with connect(ledger).begin() as db:
        db.exec_driver_sql("ALTER TABLE away RENAME TO batches")
    assert samples(generate_latest(registry).decode()).keys() == before.keys()


@pytest.mark.process
def test_a_service_that_does_not_answer_is_down_and_the_others_are_exported(tmp_path, ledger, services):
    with (
        silent_address() as silent,
        Supervisor(tmp_path / "logs", environment=without_lab()) as supervisor,
    ):
        [port] = free_ports(1)
        settings = {
            "raw_url": ledger,
            "postgres_url": f"postgresql+psycopg2://monitor:secret-word@{silent}/postgres",
            "redis_url": "redis://monitor:secret-word@127.0.0.1:1/0",
            "airflow_url": f"{services}/health",
            "probes": f'{{"mlflow": "{services}/", "streamlit": "{services}/broken"}}',
            "timeout": "1",
        }
        # The exporter's image has no numpy.
        (tmp_path / "blocked").mkdir()
        (tmp_path / "blocked" / "numpy.py").write_text("raise ImportError('numpy is blocked')")
        exporter = Process(
            "exporter",
            [*EXPORTER, "--port", str(port)],
            env={f"LAB_EXPORTER_{name.upper()}": value for name, value in settings.items()}
            | {"PYTHONPATH": str(tmp_path / "blocked")},
            url=f"http://127.0.0.1:{port}",
            health="/metrics",
        )
        handle = supervisor.start(exporter)
        supervisor.wait(exporter)
        found = samples(httpx.get(f"{exporter.url}/metrics", timeout=30).text)
        handle.send_signal(signal.SIGTERM)
        assert handle.wait(30) == 0
        log = supervisor.log(exporter.name).read_text()
    up = {key[1]: value for key, value in found.items() if key[0] == "lab_up"}
    assert up == {"mysql": 1, "postgres": 0, "redis": 0, "airflow": 1, "mlflow": 1, "streamlit": 0}
    assert found["lab_airflow_component_up", "metadatabase"] == 1
    assert found["lab_airflow_component_up", "scheduler"] == 0
    assert ("lab_airflow_component_up", "triggerer") not in found
    assert '"message":"redis is down: ConnectionError: Error ' in log
    # One line, although Prometheus has scraped more than once.
    assert log.count("redis is down") == 1
    assert "secret-word" not in log
