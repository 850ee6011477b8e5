"""A payload becomes rows of the declared columns; errors name rows and columns that can't be used."""

import json
from dataclasses import replace

import pytest

from mlops_lab.data.payload import BatchShapeError, as_json, parse
from tests.support.flats import batch, flats


def body(content) -> bytes:
    return json.dumps(content).encode()


def test_lists_and_objects_give_the_same_rows(use_case):
    lists = flats(5)
    names = [column.name for column in use_case.columns]
    objects = [dict(zip(names, row, strict=True)) for row in lists]
    assert parse(body(batch(1, lists)), use_case).rows == parse(body(batch(1, objects)), use_case).rows


def test_undeclared_columns_are_named_and_left_out(use_case):
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


def test_a_few_lists_among_objects_are_set_apart(use_case):
    names = [column.name for column in use_case.columns]
    rows = [dict(zip(names, row, strict=True)) for row in flats(3)]
    parsed = parse(body(batch(1, [rows[0], [1, 2], *rows[1:]])), use_case)
    assert [(place, text) for place, text, _ in parsed.misshapen] == [(1, "it is a list among objects")]
    assert parsed.positions == [0, 2, 3]
    parsed = parse(body(batch(1, [*rows, [1, 2], [3, 4], flats(1)[0], "x"])), use_case)
    assert [(place, text) for place, text, _ in parsed.misshapen] == [
        (3, "it has 2 values instead of 6"),
        (4, "it has 2 values instead of 6"),
        (6, "it has no row"),
    ]


def test_a_payload_that_names_its_columns_needs_no_layout(use_case):
    names, lists = [column.name for column in use_case.columns], flats(3)
    mixed = batch(1, [["x", *reversed(row)] for row in lists]) | {"columns": ["landlord", *reversed(names)]}
    parsed = parse(body(mixed), use_case)
    assert parsed.rows == parse(body(batch(1, lists)), use_case).rows
    assert parsed.ignored == ["landlord"]


def test_a_layout_that_contradicts_the_payload_is_refused(use_case):
    names = [column.name for column in use_case.columns]
    swapped = replace(use_case, layouts=[[names[-1], *names[1:-1], names[0]]])
    payload = body(batch(1, flats(3)) | {"columns": names})
    with pytest.raises(
        BatchShapeError, match="column 1 is area by the Data API and rent by the layout of flats"
    ):
        parse(payload, swapped)
    assert parse(payload, replace(use_case, layouts=[names, ["a", "b"]])).rows


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"<html>", "isn't JSON"),
        (body([1, 2]), 'no list "data"'),
        (body({"data": []}), 'no whole number "batch_number"'),
        (body(batch(3, [[1, 2], [3, 4]])), "rows have 2 values; flats has layouts of 6 columns"),
        (body(batch(3, [{"area": 1}])), "columns are missing: floor, district, balcony, built, rent"),
        (body(batch(3, [1, 2])), "no row has the shape of a row"),
        pytest.param(
            b'{"batch_number": 3, "data": ' + 100_000 * b"[" + 100_000 * b"]}", "isn't JSON", id="deep"
        ),
        (body(batch(10**25, [[1]])), 'no whole number "batch_number" of 32 bits'),
        (body(batch(3, [[1]]) | {"columns": "area"}), '"columns" is no list of names'),
        (body(batch(3, [[1, 2]]) | {"columns": ["area", "area"]}), '"columns" has a name twice'),
        (body(batch(3, [[1, 2]]) | {"columns": ["area", "rent"]}), "columns are missing: floor"),
        (body(batch(True, [[1]])), 'no whole number "batch_number"'),
    ],
)
def test_a_broken_shape_is_one_clear_error(use_case, payload, fault):
    with pytest.raises(BatchShapeError, match=fault):
        parse(payload, use_case)


def test_a_row_that_is_nested_too_deeply_for_a_text_has_one_all_the_same():
    row: list = []
    for _ in range(5000):
        row = [row]
    assert as_json(row) == '"(nested too deeply)"'
