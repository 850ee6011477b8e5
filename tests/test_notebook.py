"""`open_lab()` of the notebooks: it opens the lab of the environment, or fails with one line."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlops_lab.errors import LabError
from mlops_lab.notebook import open_lab


@pytest.fixture
def environment(trained, monkeypatch):
    """The variables of a lab after its first batch."""
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    monkeypatch.setenv("LAB_DEFAULT_USE_CASE", "flats")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return monkeypatch


@pytest.fixture
def refusing():
    """A server that refuses every login."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(401)
            self.end_headers()

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_it_opens_the_lab_and_prints_its_addresses(environment, capsys):
    lab = open_lab()
    assert [batch.batch_number for batch in lab.ledger.batches("flats")] == [1]
    assert "Rent of a flat: 600 raw rows in sqlite:///" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"LAB_HOME": "{empty}"}, "flats has no batch yet in sqlite:///"),
        (
            {"LAB_RAW_DB_URL": "mysql+pymysql://reader:wrong@127.0.0.1:1/RawData"},
            "the database can't be read: (2003",
        ),
        ({"LAB_MLFLOW_URL": "http://127.0.0.1:1"}, "MLflow at http://127.0.0.1:1 can't be used"),
        (
            {"LAB_MLFLOW_URL": "{refusing}"},
            "refuses this login; check LAB_MLFLOW_USERNAME and LAB_MLFLOW_PASSWORD",
        ),
        ({"LAB_DEFAULT_USE_CASE": "castles"}, "castles"),
    ],
)
def test_each_fault_is_one_line_without_the_password(environment, tmp_path, refusing, variables, words):
    (tmp_path / "empty").mkdir()
    for name, value in variables.items():
        environment.setenv(name, value.format(empty=tmp_path / "empty", refusing=refusing))
    with pytest.raises(LabError) as raised:
        open_lab()
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "wrong" not in str(raised.value)
