"""The client reads both API variants, keeps a reply within its limits, and names an address that it can't use."""

import gzip
import logging

import pytest

from mlops_lab.data import source
from mlops_lab.data.source import DataApi, EndOfDataError, OversizedError, SourceError, SourceRefusedError
from mlops_lab.files import FILE_FAULT
from tests.support.flats import batch, flats


@pytest.fixture
def reply(tmp_path):
    """The file that a batch is written to."""
    return tmp_path / "reply"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    monkeypatch.setattr(source.time, "sleep", lambda _: None)


@pytest.mark.parametrize("suffix", ["", "/", "/data", "/data?group_number=4"])
def test_any_form_of_the_address_works(course, suffix, reply):
    course.will_answer(batch(1, flats(2)))
    DataApi(course.url + "/{dataset}" + suffix).fetch("flats", reply)
    group = 4 if "4" in suffix else 1
    assert course.asked == [f"/flats/data?group_number={group}"]


def test_a_server_that_requires_a_day_gets_one(course, reply):
    day_missing = (422, {"detail": [{"loc": ["query", "day"], "msg": "Field required"}]})
    course.will_answer(day_missing, {"day": "Monday", **batch(1, [])})
    DataApi(course.url).fetch("flats", reply)
    assert "day=" in course.asked[1]
    assert course.asked[1].startswith("/data?group_number=1&day=")


def test_the_end_of_the_data_and_a_refused_request_are_different_errors(course, reply):
    course.will_answer((400, {"detail": "Ya se recolectó toda la información"}))
    with pytest.raises(EndOfDataError, match="Ya se recolectó"):
        DataApi(course.url).fetch("flats", reply)
    course.will_answer((400, {"detail": "Invalid group number"}))
    with pytest.raises(SourceRefusedError, match=r"Invalid group number.*LAB_DATA_API_URL"):
        DataApi(course.url).fetch("flats", reply)


def test_a_fault_of_a_file_is_asked_for_once_and_says_only_what_to_do(course, reply):
    course.will_answer((503, {"detail": "mine.csv is empty; replace the file"}, {FILE_FAULT: "true"}))
    with pytest.raises(SourceError, match=r"can't serve it: mine.csv is empty; replace the file$"):
        DataApi(course.url).fetch("mine", reply)
    missing = "no data set 'mine'; there are realtor; put mine.csv into data"
    course.will_answer((404, {"detail": missing}, {FILE_FAULT: "true"}))
    with pytest.raises(SourceRefusedError, match=r"^the Data API at \S+ has no data set 'mine'.* into data$"):
        DataApi(course.url).fetch("mine", reply)
    assert len(course.asked) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>400 Bad Request</h1></html>",
        b"",
        {"message": "no route"},
        {"detail": "Bad Request"},
        {"detail": ["a", "b"]},
        {"title": "Bad Request", "status": 400, "detail": "the header is too large"},
    ],
)
def test_a_proxys_400_is_not_the_end_of_the_data(course, reply, body):
    course.will_answer((400, body))
    with pytest.raises(SourceRefusedError, match="refuses the request \\(400: "):
        DataApi(course.url).fetch("flats", reply)


def test_an_unreachable_server_gets_four_requests_and_is_named(course, reply):
    course.will_answer((503, {"detail": "starting"}), batch(1, flats(1)))
    DataApi(course.url).fetch("flats", reply)
    assert b"batch_number" in reply.read_bytes()
    course.will_answer((503, {"detail": "the disk is full"}))
    with pytest.raises(SourceError, match=r"answered 503 \(the disk is full\), tried 4 times"):
        DataApi(course.url).fetch("flats", reply)
    with pytest.raises(SourceError, match=r"can't be reached.*start it"):
        DataApi("http://127.0.0.1:9").fetch("flats", reply)


def test_a_reply_that_is_cut_is_asked_for_again_with_the_same_key_and_leaves_no_half(course, reply):
    course.will_answer((200, b'{"batch', {"Content-Length": "5000"}), batch(1, flats(1)))
    DataApi(course.url).fetch("flats", reply, key="of this request")
    assert [headers["Idempotency-Key"] for headers in course.headers] == ["of this request"] * 2
    course.will_answer((200, b'{"batch', {"Content-Length": "5000"}))
    whole = reply.read_bytes()
    with pytest.raises(SourceError):
        DataApi(course.url).fetch("flats", reply)
    assert (reply.read_bytes(), list(reply.parent.iterdir())) == (whole, [reply])


@pytest.mark.parametrize("packed", [False, True])
def test_a_reply_has_a_limit_of_size_also_when_it_is_packed(course, reply, packed):
    body = b" " * 3_000_000
    course.will_answer((200, gzip.compress(body), {"Content-Encoding": "gzip"}) if packed else (200, body))
    with pytest.raises(OversizedError, match="larger than 2 MB; raise LAB_DATA_API_MAX_MB"):
        DataApi(course.url, most=2).fetch("flats", reply)
    assert list(reply.parent.iterdir()) == []
    assert len(course.asked) == 1
    DataApi(course.url, most=3).fetch("flats", reply)
    assert reply.read_bytes() == body


def test_a_packing_without_a_bound_is_refused(course, reply):
    course.will_answer((200, b"x", {"Content-Encoding": "br"}))
    with pytest.raises(SourceError, match="packs its reply as br"):
        DataApi(course.url).fetch("flats", reply)


def test_a_reply_has_a_limit_of_time_as_a_whole(course, reply, monkeypatch):
    monkeypatch.undo()
    course.pause = 0.02
    course.will_answer(batch(1, flats(20)))
    with pytest.raises(SourceError, match=r"not complete in 0\.2 s, LAB_DATA_API_TIMEOUT\), tried once"):
        DataApi(course.url, timeout=0.2).fetch("flats", reply)
    assert list(reply.parent.iterdir()) == []


def test_secrets_of_the_address_reach_the_server_and_nothing_else(course, reply, caplog):
    caplog.set_level(logging.INFO)
    course.will_answer(batch(1, flats(1)))
    address = course.url.replace("://", "://ana:p%40ss@") + "/data?group_number=4&token=hidden"
    assert DataApi(address).fetch("flats", reply) == f"{course.url}/data?group_number=4&token=***"
    assert course.headers[0]["Authorization"] == "Basic YW5hOnBAc3M="
    assert course.asked == ["/data?group_number=4&token=hidden"]
    course.will_answer((404, {"detail": "nothing here"}))
    with pytest.raises(SourceRefusedError) as refused:
        DataApi(address).fetch("flats", reply)
    for secret in ("ana", "p%40ss", "p@ss", "hidden"):
        assert secret not in caplog.text + str(refused.value)
