"""The System page with an Alertmanager that answers (its own reply, recorded from 0.33.1) and one that doesn't."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from streamlit.testing.v1 import AppTest

from mlops_lab.settings import REPOSITORY

FIRING = [
    {
        "annotations": {"description": "", "summary": "bed of housing has drifted (PSI 3.1)"},
        "startsAt": "2026-11-21T09:30:34.425Z", "status": {"state": "active"},
        "labels": {"alertname": "InputDrift", "severity": "ticket", "use_case": "housing"},
    },
    {
        "annotations": {"description": "Nobody gets a prediction.", "summary": "No replica answers"},
        "startsAt": "2026-11-21T09:35:34.402Z", "status": {"state": "active"},
        "labels": {"alertname": "InferenceDown", "severity": "page"},
    },
]  # fmt: skip


@pytest.fixture
def system(monkeypatch):
    """The page, as a function of Alertmanager's reply (None: it doesn't answer)."""
    servers = []

    def show(reply: bytes | None) -> AppTest:
        class Alertmanager(BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.path.startswith("/api/v2/alerts?active=true&silenced=false&inhibited=false")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Alertmanager)
        servers.append(server)
        if reply is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in ("INFERENCE", "MLFLOW"):
            monkeypatch.setenv(f"LAB_{name}_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("LAB_ALERTMANAGER_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.syspath_prepend(str(REPOSITORY / "streamlit"))
        import ui_settings

        ui_settings.settings.cache_clear()
        return AppTest.from_file(
            str(REPOSITORY / "streamlit" / "views" / "system.py"), default_timeout=60
        ).run()

    yield show
    for server in servers:
        server.shutdown() if server.socket.fileno() >= 0 else None
    import ui_settings

    ui_settings.settings.cache_clear()


def test_firing_alerts_are_first_and_link_to_their_runbooks(system):
    page = system(json.dumps(FIRING).encode())
    assert not page.exception
    assert "No replica answers" in page.error[0].value
    assert "(runbooks?alert=InferenceDown)" in page.error[0].value
    assert "bed of housing has drifted" in page.warning[0].value


def test_nothing_fires(system):
    assert system(b"[]").success[0].value == "Nothing fires."


@pytest.mark.parametrize(
    ("reply", "words"), [(None, "Alertmanager doesn't answer"), (b"<html>", "isn't an Alertmanager")]
)
def test_an_unreachable_alertmanager_is_one_clear_line(system, reply, words):
    page = system(reply)
    assert not page.exception
    assert words in page.warning[0].value


@pytest.mark.parametrize("alert", ["DagFailed", "", "nonsense"])
def test_a_runbook_opens_alone_and_all_open_without_a_name(alert):
    page = AppTest.from_file(str(REPOSITORY / "streamlit" / "views" / "runbooks.py"), default_timeout=60)
    page.query_params["alert"] = alert
    page.run()
    assert not page.exception
    shown = page.markdown[0].value
    assert shown.startswith("# DagFailed" if alert == "DagFailed" else "# Runbooks")
    assert ("## DiskFilling" in shown) == (alert != "DagFailed")
