"""The client understands any Data API of either dialect, and says clearly what it can't use."""

import json

import pytest

from mlops_lab.data import source
from mlops_lab.data.source import BatchShapeError, DataApi, EndOfDataError, SourceError, parse
from tests.support.flats import batch, flats


def body(content) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize("suffix", ["", "/", "/data", "/data?group_number=4"])
def test_any_form_of_the_address_works(course, suffix):
    course.will_answer(batch(1, flats(2)))
    DataApi(course.url + "/{dataset}" + suffix).fetch("flats")
    group = 4 if "4" in suffix else 1
    assert course.asked == [f"/flats/data?group_number={group}"]


def test_a_server_that_wants_a_day_gets_one(course):
    wants_day = (422, {"detail": [{"loc": ["query", "day"], "msg": "Field required"}]})
    course.will_answer(wants_day, {"day": "Monday", **batch(1, [])})
    DataApi(course.url).fetch("flats")
    assert "day=" in course.asked[1]
    assert course.asked[1].startswith("/data?group_number=1&day=")


def test_the_end_of_the_data_is_told_apart_from_a_refused_request(course):
    course.will_answer((400, {"detail": "Ya se recolectó toda la información"}))
    with pytest.raises(EndOfDataError, match="Ya se recolectó"):
        DataApi(course.url).fetch("flats")
    course.will_answer((400, {"detail": "Invalid group number"}))
    with pytest.raises(SourceError, match=r"Invalid group number.*LAB_DATA_API_URL"):
        DataApi(course.url).fetch("flats")


def test_a_server_that_is_away_is_asked_again_and_then_named(monkeypatch, course):
    monkeypatch.setattr(source.time, "sleep", lambda _: None)
    course.will_answer((503, {"detail": "starting"}), batch(1, flats(1)))
    assert b"batch_number" in DataApi(course.url).fetch("flats").body
    course.will_answer((503, {"detail": "the disk is full"}))
    with pytest.raises(SourceError, match=r"answered 503 \(the disk is full\), asked 4 times"):
        DataApi(course.url).fetch("flats")
    with pytest.raises(SourceError, match=r"can't be reached.*is it running"):
        DataApi("http://127.0.0.1:9").fetch("flats")


def test_lists_and_objects_give_the_same_rows(use_case):
    lists = flats(5)
    names = [column.name for column in use_case.columns]
    objects = [dict(zip(names, row, strict=True)) for row in lists]
    assert parse(body(batch(1, lists)), use_case).rows == parse(body(batch(1, objects)), use_case).rows


def test_columns_that_nobody_asked_for_are_named_and_left_out(use_case):
    names = [column.name for column in use_case.columns]
    row = dict(zip(names, flats(1)[0], strict=True)) | {"landlord": "x"}
    parsed = parse(body(batch(1, [row])), use_case)
    assert parsed.ignored == ["landlord"]
    assert "landlord" not in parsed.rows[0]


def test_a_row_of_another_width_is_set_apart_and_the_others_are_kept(use_case):
    rows = flats(3)
    rows.insert(1, [1, 2])
    rows.append("no row at all")
    parsed = parse(body(batch(1, rows)), use_case)
    assert parsed.positions == [0, 2, 3]
    assert [(place, text) for place, text, _ in parsed.misshapen] == [
        (1, "it has 2 values instead of 6"),
        (4, "it has no row"),
    ]


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"<html>", "isn't JSON"),
        (body([1, 2]), 'no list "data"'),
        (body({"data": []}), 'no whole number "batch_number"'),
        (body(batch(3, [[1, 2], [3, 4]])), "rows have 2 values; flats knows layouts of 6 columns"),
        (body(batch(3, [{"area": 1}])), "columns are missing: floor, district, balcony, built, rent"),
        (body(batch(3, [1, 2])), "no row has the shape of a row"),
    ],
)
def test_a_broken_shape_is_one_clear_error(use_case, payload, fault):
    with pytest.raises(BatchShapeError, match=fault):
        parse(payload, use_case)
