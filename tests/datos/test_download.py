"""Downloads from a real server that cuts connections, changes its file, or is down."""

import csv
import gzip
import hashlib
import io
import random
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datos.settings import DatosSettings
from mlops_lab.data import covertype
from mlops_lab.data import download as module
from mlops_lab.data.download import DATASETS, PUBLISHED, ChecksumError, DownloadError, download
from mlops_lab.errors import LabError

DIABETES = b"encounter_id,patient_nbr,weight\n" + b"".join(
    f"{n},{random.Random(n).random()},?\n".encode() for n in range(20_000)
)


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return packed.getvalue()


class Publisher(ThreadingHTTPServer):
    """Serves `body`; each entry of `cuts` lets one connection break after so many bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = zipped(IDS_mapping_DOT_csv=b"1,2", dataset__diabetic_data_DOT_csv=DIABETES)
        self.cuts: list[int] = []
        self.status: list[int] = []
        self.answered = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}/public/data.zip"

    def handle_error(self, request, client_address):
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        publisher: Publisher = self.server
        publisher.answered += 1
        if publisher.status:
            self.send_response(publisher.status.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(publisher.body)))
        self.end_headers()
        body = publisher.body
        if publisher.cuts:
            body = body[: publisher.cuts.pop(0)]
            self.close_connection = True
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def publisher():
    with Publisher() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)


def fetch(publisher, folder, dataset="diabetes", progress=lambda done, total: None, **changes):
    public = replace(PUBLISHED[dataset], url=publisher.url, **changes)
    return download(dataset, folder, progress, {dataset: public})


def test_a_download_is_complete_and_reports_progress(publisher, tmp_path):
    shown = []
    path = fetch(publisher, tmp_path / "new", progress=lambda done, total: shown.append((done, total)))
    assert path == tmp_path / "new" / "diabetic_data.csv"
    assert path.read_bytes() == DIABETES
    assert shown[0][0] == 0
    assert shown[-1] == (len(publisher.body), len(publisher.body))
    assert [done for done, _ in shown] == sorted(done for done, _ in shown)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "diabetic_data.csv",
        "diabetic_data.csv.sha256",
    ]


def test_a_cut_connection_is_tried_again(publisher, tmp_path):
    publisher.cuts = [len(publisher.body) // 3, 0]
    assert fetch(publisher, tmp_path).read_bytes() == DIABETES
    assert publisher.answered == 3


def test_a_connection_that_is_cut_each_time_leaves_nothing(publisher, tmp_path):
    publisher.cuts = [len(publisher.body) // 2] * module.ATTEMPTS
    with pytest.raises(DownloadError, match="can't be reached"):
        fetch(publisher, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert fetch(publisher, tmp_path).read_bytes() == DIABETES


def test_a_busy_publisher_gets_further_requests(publisher, tmp_path):
    publisher.status = [503, 429]
    assert fetch(publisher, tmp_path).read_bytes() == DIABETES


def test_an_existing_file_is_not_downloaded_again(publisher, tmp_path):
    fetch(publisher, tmp_path)
    fetch(publisher, tmp_path)
    assert publisher.answered == 1


@pytest.mark.parametrize("name", ["diabetic_data.csv", "diabetic_data.csv.gz"])
def test_a_file_put_there_by_hand_is_kept(publisher, tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    assert fetch(publisher, tmp_path) == tmp_path / name
    assert (tmp_path / name).read_bytes() == b"mine"
    assert publisher.answered == 0


def test_a_file_that_changed_after_its_download_is_refused(publisher, tmp_path):
    path = fetch(publisher, tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ChecksumError, match="remove it"):
        fetch(publisher, tmp_path)
    path.unlink()
    assert fetch(publisher, tmp_path).read_bytes() == DIABETES


def test_later_downloads_must_have_the_digest_of_the_first(publisher, tmp_path):
    path = fetch(publisher, tmp_path)
    path.unlink()
    publisher.body = zipped(diabetic_data_DOT_csv=b"a,b\n1,2\n")
    with pytest.raises(ChecksumError, match="sha256"):
        fetch(publisher, tmp_path)
    assert not path.exists()
    (tmp_path / "diabetic_data.csv.sha256").unlink()
    assert fetch(publisher, tmp_path).read_bytes() == b"a,b\n1,2\n"


def test_a_published_digest_is_checked(publisher, tmp_path):
    with pytest.raises(ChecksumError, match="sha256"):
        fetch(publisher, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
    known = hashlib.sha256(publisher.body).hexdigest()
    assert fetch(publisher, tmp_path, sha256=known).exists()


def test_a_damaged_record_is_named(publisher, tmp_path):
    fetch(publisher, tmp_path)
    (tmp_path / "diabetic_data.csv.sha256").write_text("{")
    with pytest.raises(ChecksumError, match=r"diabetic_data\.csv\.sha256 is damaged"):
        fetch(publisher, tmp_path)


@pytest.mark.parametrize(
    "body",
    [b"<html>moved</html>", zipped(other_DOT_csv=b"1"), zipped(diabetic_data_DOT_csv=DIABETES)[:-3000]],
    ids=["a page", "another file", "cut"],
)
def test_a_file_that_is_no_usable_archive_is_refused(publisher, tmp_path, body):
    publisher.body = body
    with pytest.raises(DownloadError, match=r"get diabetic_data\.csv by hand") as error:
        fetch(publisher, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b"1,2\n"), gzip.compress(b"1,2\n" * 999)[:-9]],
    ids=["no gzip", "other columns", "cut"],
)
def test_damaged_covertype_data_is_refused(publisher, tmp_path, data):
    publisher.body = zipped(covtype_DOT_data_DOT_gz=data)
    with pytest.raises(DownloadError, match=r"no usable covtype\.data\.gz.*get covertype\.csv by hand"):
        fetch(publisher, tmp_path, dataset="covertype")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_publisher_does_not_have_is_named(publisher, tmp_path):
    publisher.status = [404]
    with pytest.raises(DownloadError, match="answered 404; get it by hand from"):
        fetch(publisher, tmp_path)


def test_an_unreachable_publisher_is_named(publisher, tmp_path):
    publisher.server_close()
    with pytest.raises(DownloadError, match="can't be reached") as error:
        fetch(publisher, tmp_path)
    assert isinstance(error.value, LabError)
    for word in ("get it by hand from https://", "diabetic_data.csv", str(tmp_path)):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_cannot_be_written_is_named(publisher, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="can't be written"):
        fetch(publisher, tmp_path / "file")


def test_listings_behind_a_login_and_unknown_names(tmp_path):
    with pytest.raises(DownloadError, match=r"login.*realtor\.csv"):
        download("realtor", tmp_path)
    with pytest.raises(DownloadError, match="covertype, realtor"):
        download("nothing", tmp_path)
    assert DATASETS == ("diabetes", "covertype")


def test_covertype_becomes_the_courses_columns(publisher, tmp_path, real_file):
    with gzip.open(real_file("covertype_group5_unique.csv.gz"), "rt", newline="") as file:
        header, *rows = csv.reader(file)
    # The publisher's form of some real rows: areas and soils as 0/1 columns, classes from 1.
    rows = rows[:2000]
    lines = []
    for row in rows:
        area = [str(int(row[10] == name)) for name in covertype.WILDERNESS_AREAS]
        soil = [str(int(row[11] == f"C{code}")) for code in covertype.SOIL_TYPES]
        lines.append(",".join([*row[:10], *area, *soil, str(int(row[12]) + 1)]))
    data = gzip.compress("\n".join(lines).encode() + b"\n")
    publisher.body = zipped(covtype_DOT_data_DOT_gz=data, covtype_DOT_info=b"")
    path = fetch(publisher, tmp_path, dataset="covertype")
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [header, *rows]


def test_a_downloaded_file_is_served(publisher, tmp_path, serve):
    fetch(publisher, serve.folder)
    api = serve()
    assert DatosSettings().folder is None
    assert api.get("/").json()["datasets"]["diabetes"]["source"] == "file diabetic_data.csv"
    assert api.get("/diabetes/data?group_number=1").json()["data"][0][2] == "?"
