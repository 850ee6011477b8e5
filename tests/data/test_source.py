"""The client reads both API variants, and names an address that it can't use."""

import pytest

from mlops_lab.data import source
from mlops_lab.data.source import DataApi, EndOfDataError, SourceError
from tests.support.flats import batch, flats


@pytest.mark.parametrize("suffix", ["", "/", "/data", "/data?group_number=4"])
def test_any_form_of_the_address_works(course, suffix):
    course.will_answer(batch(1, flats(2)))
    DataApi(course.url + "/{dataset}" + suffix).fetch("flats")
    group = 4 if "4" in suffix else 1
    assert course.asked == [f"/flats/data?group_number={group}"]


def test_a_server_that_requires_a_day_gets_one(course):
    day_missing = (422, {"detail": [{"loc": ["query", "day"], "msg": "Field required"}]})
    course.will_answer(day_missing, {"day": "Monday", **batch(1, [])})
    DataApi(course.url).fetch("flats")
    assert "day=" in course.asked[1]
    assert course.asked[1].startswith("/data?group_number=1&day=")


def test_the_end_of_the_data_and_a_refused_request_are_different_errors(course):
    course.will_answer((400, {"detail": "Ya se recolectó toda la información"}))
    with pytest.raises(EndOfDataError, match="Ya se recolectó"):
        DataApi(course.url).fetch("flats")
    course.will_answer((400, {"detail": "Invalid group number"}))
    with pytest.raises(SourceError, match=r"Invalid group number.*LAB_DATA_API_URL"):
        DataApi(course.url).fetch("flats")


def test_an_unreachable_server_gets_four_requests_and_is_named(monkeypatch, course):
    monkeypatch.setattr(source.time, "sleep", lambda _: None)
    course.will_answer((503, {"detail": "starting"}), batch(1, flats(1)))
    assert b"batch_number" in DataApi(course.url).fetch("flats").body
    course.will_answer((503, {"detail": "the disk is full"}))
    with pytest.raises(SourceError, match=r"answered 503 \(the disk is full\), tried 4 times"):
        DataApi(course.url).fetch("flats")
    with pytest.raises(SourceError, match=r"can't be reached.*start it"):
        DataApi("http://127.0.0.1:9").fetch("flats")
