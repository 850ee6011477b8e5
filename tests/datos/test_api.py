"""The Data API over HTTP: both API variants, positions, the end of the data, bad requests."""

import csv
import io
import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from datos.synthetic.market import COLUMNS
from mlops_lab.local.processes import Process, Supervisor, free_ports


def rows_of(reply):
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def test_the_page_docs_loads_nothing_from_elsewhere(serve):
    api = serve()
    loaded = re.findall(r'(?:href|src)="([^"]+)"', api.get("/docs").text)
    assert len(loaded) == 3
    for path in loaded:
        assert path.startswith("/")
        assert api.get(path).status_code == 200


def test_the_list_variant_has_rows_as_lists_of_texts(serve):
    reply = serve().get("/realtor/data", params={"group_number": 3}).json()
    assert set(reply) == {"group_number", "batch_number", "data"}
    assert (reply["group_number"], reply["batch_number"]) == (3, 1)
    assert all(len(row) == len(COLUMNS) for row in reply["data"])
    assert {type(value) for row in reply["data"] for value in row} == {str}
    assert any("" in row for row in reply["data"])


def test_the_reply_names_its_columns_when_it_is_asked_to(serve):
    api = serve()
    plain = api.get("/realtor/data", params={"group_number": 3}).json()
    api.get("/realtor/restart_data_generation", params={"group_number": 3})
    named = api.get("/realtor/data", params={"group_number": 3}, headers={"Column-Names": "true"}).json()
    assert named == plain | {"columns": list(COLUMNS)}


def test_the_object_variant_has_the_same_rows_as_objects(serve):
    api = serve()
    texts = rows_of(api.get("/realtor/data?group_number=3"))
    reply = api.get("/realtor/data?group_number=3&day=Tuesday").json()
    assert set(reply) == {"group_number", "day", "batch_number", "data"}
    assert (reply["day"], reply["batch_number"]) == ("Tuesday", 1)
    for text, row in zip(texts, reply["data"], strict=True):
        assert tuple(row) == COLUMNS
        for name, value in zip(COLUMNS, text, strict=True):
            if value == "":
                assert row[name] is None
            elif name in ("status", "city", "state", "prev_sold_date"):
                assert row[name] == value
            elif isinstance(row[name], str):
                assert value in ("call agent", "two")  # a bad value stays what it is
            else:
                assert row[name] == float(value)


def test_whole_numbers_stay_whole_in_the_object_variant(serve):
    row = rows_of(serve().get("/covertype/data?group_number=1&day=2"))[0]
    assert type(row["Elevation"]) is int
    assert type(row["Soil_Type"]) is str


@pytest.mark.parametrize("day", ["", "&day=martes"])
def test_each_call_gets_the_next_batch_until_the_end(serve, day):
    api = serve()
    numbers = [api.get(f"/realtor/data?group_number=1{day}").json()["batch_number"] for _ in range(6)]
    assert numbers == [1, 2, 3, 4, 5, 6]
    for _ in range(2):
        end = api.get(f"/realtor/data?group_number=1{day}")
        assert end.status_code == 400
        assert "end of the data" in end.json()["detail"]


def test_a_batch_repeats_until_its_interval_is_over(serve):
    now = [1000.0]
    api = serve(interval=300, clock=lambda: now[0])

    def ask(query=""):
        reply = api.get(f"/covertype/data?group_number=1{query}")
        return reply.status_code if reply.status_code != 200 else reply.json()["batch_number"]

    assert [ask(), ask()] == [1, 1]
    now[0] += 299
    assert ask() == 1
    now[0] += 1
    assert [ask(), ask()] == [2, 2]
    assert [ask("&day=1"), ask("&day=1")] == [1, 2]  # the object variant does not wait
    now[0] += 300
    assert ask() == 3
    now[0] += 300
    assert [ask(), ask()] == [4, 4]
    now[0] += 300
    assert ask() == 400


@pytest.mark.fault
@pytest.mark.parametrize("day", ["", "&day=martes"])
def test_a_request_that_is_sent_again_gets_the_same_batch_also_after_a_restart(serve, tmp_path, day):
    def ask(api, key=""):
        reply = api.get(
            f"/covertype/data?group_number=1{day}", headers={"Idempotency-Key": key} if key else {}
        )
        return reply.json()["batch_number"], reply.content

    state = tmp_path / "positions.json"
    api = serve(state=state)
    lost = ask(api, "one")
    assert ask(api, "one") == lost
    assert lost[0] == 1
    assert ask(serve(state=state), "one") == lost
    api = serve(state=state)
    assert [ask(api, "two")[0], ask(api, "three")[0], ask(api, "three")[0], ask(api)[0]] == [2, 3, 3, 4]
    # A request that never got a batch gets the next one.
    api.get("/covertype/restart_data_generation?group_number=1")
    assert [ask(api)[0], ask(api)[0]] == [1, 2]


def test_positions_of_an_earlier_version_are_continued(serve, tmp_path):
    state = tmp_path / "positions.json"
    state.write_text('{"positions": {"covertype/1": {"batch": 2, "since": 5.0}}}')
    api = serve(state=state)
    numbers = [api.get("/covertype/data?group_number=1").json()["batch_number"] for _ in range(2)]
    assert numbers == [3, 4]


def test_groups_days_and_data_sets_keep_their_own_positions(serve):
    api = serve()
    for address in (
        "covertype/data?group_number=1",
        "covertype/data?group_number=2",
        "diabetes/data?group_number=1",
    ):
        assert api.get(f"/{address}").json()["batch_number"] == 1
        assert api.get(f"/{address}&day=Monday").json()["batch_number"] == 1
        assert api.get(f"/{address}&day=monday").json()["batch_number"] == 2
        assert api.get(f"/{address}&day=4").json()["batch_number"] == 1


def test_restart(serve):
    api = serve()
    for _ in range(2):
        for query in (
            "group_number=1",
            "group_number=1&day=Monday",
            "group_number=1&day=Friday",
            "group_number=10",
        ):
            api.get(f"/covertype/data?{query}")
    assert api.get("/covertype/restart_data_generation?group_number=1&day=Monday").status_code == 200
    assert api.get("/covertype/data?group_number=1&day=Monday").json()["batch_number"] == 1
    assert api.get("/covertype/data?group_number=1&day=Friday").json()["batch_number"] == 3
    assert api.get("/covertype/restart_data_generation?group_number=1").status_code == 200
    assert api.get("/covertype/data?group_number=1").json()["batch_number"] == 1
    assert api.get("/covertype/data?group_number=1&day=Friday").json()["batch_number"] == 1
    assert api.get("/covertype/data?group_number=10").json()["batch_number"] == 3


def test_two_calls_at_once_get_two_batches(serve):
    api = serve()
    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(lambda _: api.get("/realtor/data?group_number=1"), range(9)))
    assert sorted(reply.json()["batch_number"] for reply in replies if reply.status_code == 200) == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]
    assert [reply.status_code for reply in replies].count(400) == 3


@pytest.mark.parametrize(
    ("address", "status", "word"),
    [
        ("realtor/data", 422, "group_number"),
        ("realtor/data?group_number=0", 422, "group_number"),
        ("realtor/data?group_number=11", 422, "group_number"),
        ("realtor/data?group_number=one", 422, "group_number"),
        ("realtor/data?group_number=1&day=someday", 422, "someday"),
        ("realtor/data?group_number=1&day=32", 422, "32"),
        ("realtor/data?group_number=1&day=", 422, "day"),
        ("realtor/restart_data_generation", 422, "group_number"),
        ("nothing/data?group_number=1", 404, "covertype, diabetes, realtor"),
        ("realtor/data.csv?batch=7", 404, "1 to 6"),
        ("realtor/data.csv?batch=0", 422, "batch"),
    ],
)
def test_a_bad_request_is_one_line_and_never_the_end_of_the_data(serve, address, status, word):
    api = serve()
    reply = api.get(f"/{address}")
    assert reply.status_code == status
    detail = reply.json()["detail"]
    assert isinstance(detail, str)
    assert word in detail
    assert "\n" not in detail
    assert api.get("/realtor/data?group_number=1").json()["batch_number"] == 1


def test_a_page_of_another_site_moves_no_position(serve):
    api = serve()
    for path in ("/realtor/data", "/realtor/restart_data_generation"):
        reply = api.get(path, params={"group_number": 1}, headers={"Sec-Fetch-Site": "cross-site"})
        assert reply.status_code == 403
        assert "another site" in reply.json()["detail"]
    # A typed address, a link on a page of this machine, a program.
    for headers in ({"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-site"}, {}):
        assert api.get("/realtor/data", params={"group_number": 1}, headers=headers).status_code == 200
    assert 'datos_position{dataset="realtor",day="",group="1"} 3.0' in api.get("/metrics").text
    assert api.get("/health", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


def test_index_columns_and_csv(serve):
    api = serve()
    index = api.get("/").json()["datasets"]
    assert set(index) == {"realtor", "diabetes", "covertype"}
    assert all("synthetic" in entry["source"] for entry in index.values())
    assert api.get("/realtor/columns").json() == index["realtor"]["columns"] == list(COLUMNS)
    one = api.get("/realtor/data.csv?batch=2")
    assert one.headers["content-type"].startswith("text/csv")
    header, *rows = csv.reader(io.StringIO(one.text))
    assert header == list(COLUMNS)
    whole = list(csv.reader(io.StringIO(api.get("/realtor/data.csv").text)))
    assert len(whole) == 1 + index["realtor"]["rows"] == 1 + sum(index["realtor"]["batches"])
    api.get("/realtor/data?group_number=1")  # a download moved nothing
    assert rows_of(api.get("/realtor/data?group_number=1")) == rows


def test_metrics(serve):
    api = serve()
    served = len(rows_of(api.get("/covertype/data?group_number=4")))
    api.get("/covertype/data?group_number=44")
    api.get("/evil/data?group_number=4")
    text = api.get("/metrics").text
    assert f'datos_rows_served_total{{dataset="covertype"}} {float(served)}' in text
    assert 'datos_requests_total{dataset="covertype",status="200"} 1.0' in text
    assert 'datos_position{dataset="covertype",day="",group="4"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert "evil" not in text


def test_health(serve):
    assert serve().get("/health").json() == {"status": "ok"}


@pytest.mark.fault
def test_positions_that_cannot_be_written_lose_no_batch(serve, tmp_path):
    state = tmp_path / "state" / "positions.json"
    api = serve(state=state)
    (tmp_path / "state").write_text("a file where the folder should be")
    reply = api.get("/covertype/data?group_number=1")
    assert reply.status_code == 503
    assert "LAB_DATOS_STATE" in reply.json()["detail"]
    (tmp_path / "state").unlink()
    assert api.get("/covertype/data?group_number=1").json()["batch_number"] == 1


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(tmp_path / "logs") as supervisor:
        yield supervisor


def data_api(**settings) -> Process:
    """The Data API as users start it, on a free port."""
    port = free_ports(1)[0]
    env = {f"LAB_DATOS_{name.upper()}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "datos", "--port", str(port)]
    return Process("datos", command, env, f"http://127.0.0.1:{port}")


@pytest.mark.process
@pytest.mark.timeout(120)
def test_log_lines_are_json_with_the_requests_id(tmp_path, supervisor):
    (tmp_path / "houses.csv").write_text("")
    api = data_api(scale=0.005, folder=tmp_path)
    handle = supervisor.start(api)
    supervisor.wait(api)
    call = {"X-Request-ID": "find-me"}
    reply = httpx.get(f"{api.url}/covertype/data?group_number=4", headers=call)
    httpx.get(f"{api.url}/houses/data?group_number=4", headers={"X-Request-ID": "and me"})
    handle.terminate()
    assert handle.wait(20) == 0
    lines = [json.loads(line) for line in supervisor.log(api.name).read_text().splitlines()]
    assert reply.headers["x-request-id"] == "find-me"
    [served] = [line for line in lines if line.get("request_id") == "find-me"]
    assert (served["dataset"], served["batch"], served["group"]) == ("covertype", 1, 4)
    assert served["rows"] == len(reply.json()["data"])
    [broken] = [line for line in lines if line["logger"] == "datos" and line["level"] == "error"]
    assert "houses.csv" in broken["message"]
    # An id that is no plain word never gets into a log: a new one takes its place.
    assert len(broken["request_id"]) == 32


@pytest.mark.fault
@pytest.mark.process
@pytest.mark.timeout(120)
def test_a_killed_service_continues_from_its_position(tmp_path, supervisor):
    api = data_api(state=tmp_path / "deep" / "positions.json", scale=0.005)
    handle = supervisor.start(api)
    supervisor.wait(api)
    first = httpx.get(f"{api.url}/realtor/data?group_number=1").json()
    httpx.get(f"{api.url}/realtor/data?group_number=2&day=7")
    handle.kill()
    supervisor.stop(api)
    supervisor.start(api)
    supervisor.wait(api)
    second = httpx.get(f"{api.url}/realtor/data?group_number=1").json()
    other = httpx.get(f"{api.url}/realtor/data?group_number=2&day=7").json()
    assert (first["batch_number"], second["batch_number"], other["batch_number"]) == (1, 2, 2)
    assert first["data"] != second["data"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["positions.json"]
