"""The rows of a payload some at a time are those of `json.loads`, and so is every error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_lab.data.json_rows import AgainError, JsonRows
from mlops_lab.data.payload import BatchShapeError, Payload, batch_number, parse
from tests.support.flats import batch, flats

SPACE = st.text(" \t\n\r", max_size=2)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


def outcome(reading) -> str:
    """The result, or the error, as text: a NaN isn't equal to itself."""
    try:
        return repr(reading())
    except ValueError as error:
        return f"error: {error}"


def read(body: bytes, size: int) -> tuple[list | None, dict | None]:
    """All rows and the other fields; the second reading, where the first one is void."""
    found = JsonRows(body)
    for _ in range(2):
        try:
            parts = list(found.chunks(size))
        except AgainError:
            continue
        assert all(len(part) <= size for part in parts)
        return [row for part in parts for row in part] if found.listed else None, found.fields
    raise AssertionError("read twice in vain")


@st.composite
def objects(draw) -> str:
    """Objects with fields in any order, `data` among them never, once or twice; sometimes cut or with a tail."""
    names = draw(st.lists(st.sampled_from(["data", "batch_number", "columns", "data", "é"]), max_size=4))
    space = [draw(SPACE) for _ in range(4)]
    fields = []
    for name in names:
        value = draw(st.lists(VALUES, max_size=5) if name == "data" and draw(st.booleans()) else VALUES)
        fields.append(
            f"{json.dumps(name)}{space[0]}:{space[1]}{json.dumps(value, indent=draw(st.none() | st.just(1)))}"
        )
    text = f"{space[2]}{{{space[3]}{f'{space[0]},{space[1]}'.join(fields)}{space[2]}}}{space[3]}"
    return draw(
        st.sampled_from([text, text, text, text[:-1], text + "x", text[: len(text) // 2], f"[{text}]"])
    )


@given(text=objects(), size=st.integers(1, 4))
def test_any_object_is_read_as_json_loads_reads_it(text, size):
    body = text.encode("utf-8", "surrogatepass")

    def whole() -> tuple[list | None, dict | None]:
        found = json.loads(body)
        rows = found.pop("data", None) if isinstance(found, dict) else None
        return rows if isinstance(rows, list) else None, found if isinstance(found, dict) else None

    assert outcome(lambda: read(body, size)) == outcome(whole)


def chunks(body: bytes, use_case, size: int) -> tuple[list, int]:
    """The parts of a payload, and how often its rows were read."""
    payload, readings = Payload(body, use_case), 0
    while True:
        readings += 1
        try:
            return list(payload.chunks(size)), readings
        except AgainError:
            continue


@pytest.mark.parametrize("size", [1, 3, 100])
def test_parts_have_the_rows_of_the_whole(use_case, size):
    rows = flats(10)
    rows.insert(4, [1, 2])
    body = json.dumps(batch(7, rows)).encode()
    parts, readings = chunks(body, use_case, size)
    whole = parse(body, use_case)
    assert readings == 1
    assert len(parts) == -(-11 // size)
    assert [row for part in parts for row in part.rows] == whole.rows
    assert (
        [place for part in parts for place in part.positions]
        == whole.positions
        == [0, 1, 2, 3, *range(5, 11)]
    )
    assert [row for part in parts for row in part.misshapen] == whole.misshapen
    assert (parts[-1].number, parts[-1].columns, parts[-1].ignored) == (7, whole.columns, whole.ignored)


def test_where_the_last_rows_show_another_layout_all_rows_are_read_again(use_case):
    names = [column.name for column in use_case.columns]
    # Most rows have six values; the first ones don't, and the names of the columns come last.
    few = [[1, 2], [1, 2], *flats(5)]
    named = {"batch_number": 1, "data": [["x", *row] for row in flats(5)], "columns": ["landlord", *names]}
    # As many values as the layout that was assumed, in another order.
    other = {"batch_number": 1, "data": [row[::-1] for row in flats(5)], "columns": names[::-1]}
    for payload, found in ((batch(1, few), 5), (named, 5), (other, 5)):
        parts, readings = chunks(json.dumps(payload).encode(), use_case, 2)
        assert readings == 2
        assert sum(len(part.rows) for part in parts) == found
        assert [row["rent"] for part in parts for row in part.rows] == [row[-1] for row in flats(5)]


def test_a_fault_at_the_end_is_one_clear_error_after_the_first_parts(use_case):
    body = json.dumps(batch(1, flats(9))).encode()[:-3]
    parts = Payload(body, use_case).chunks(4)
    next(parts)
    with pytest.raises(BatchShapeError, match="the payload isn't JSON"):
        list(parts)


@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b'{"group_number":1,"columns":["a","b"],"batch_number":4,"data":[[1,2]]}', 4),
        (b'{"batch_number": 4, "data": [[1, 2]]} \n', 4),
        # Only the rows are cut or odd, so the number is known.
        (b'{"batch_number": 4, "data": [[[[}]}', 4),
        (b'{"data": [[1, 2]], "batch_number": 4}', 4),
        (b'{"batch_number": 4, "data": [], "batch_number": 5, "more": [2]}', 5),
        (b'{"batch_number": 4, "data": [{"batch_number": 9}]}', 4),
        (b'{"batch_number": 10000000000, "data": [[1]]}', None),
        (b'{"batch_number": true, "data": [[1]]}', None),
        (b'{"batch_number": 4, "data": [[1, 2]', None),
        (b'{"batch_number": 4, "data": 1}', 4),
        (b"[]", None),
        (b"\xff\xfe\xff", None),
    ],
)
def test_the_number_of_a_batch_is_known_where_it_can_be(body, number):
    assert batch_number(body) == number
