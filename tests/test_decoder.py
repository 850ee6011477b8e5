"""The compiled schema against `Contract.read`: for any body both must give the same rows and the same matrix."""

import json
from collections.abc import Iterator
from datetime import date

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_lab.contract import Contract
from mlops_lab.decoder import REMEMBERED_TEXTS, Decoder
from mlops_lab.errors import ContractError
from mlops_lab.features import FLOAT32_MAX, Boolean, Category, Date, Integer, Number
from tests.support.contracts import covertype, diabetes, housing, with_features

FEATURES = [
    Number("size", minimum=-1.5, maximum=1e6, example=1.0),
    Number("any", required=True, example=1.0),
    Integer("rooms", minimum=0.5, maximum=60.5, example=3),
    Integer("count", example=3),
    Boolean("new", example=True),
    Date("sold-on", minimum=date(1990, 1, 1), maximum=date(2030, 1, 1), example="2019-06-01"),
    Category("state", vocabulary=["CA", "None", "?x"], allowed=["CA", "None", "?x"], example="CA"),
    Category("zip", allow_unknown=True, width=5, vocabulary=["00601"], example="00601"),
    Category(
        "diagnosis", allow_unknown=True, mapping={"250": "diabetes", "V45": "other"}, vocabulary=["diabetes"]
    ),
]
INTEGERS = [0, 4, 61, -1, -999, 2**53, 2**53 + 1, 2**63, 2**64]
FLOATS = [-0.0, 0.5, 0.7, 1.0, 60.3, -1.5, -999.0, FLOAT32_MAX, 3.5e38, 1e-50, -1e-50]
CATEGORIES = [
    "",
    " ",
    "?",
    "None",
    "CA",
    " CA",
    "\u2003CA",
    "?x",
    "601",
    "601.0",
    "00601",
    "250",
    "250.13",
    "V45",
]
DAYS = ["2019-06-01", "2019-6-1", "2019-06-01T10:00:00", "1980-01-01", "2019-02-30"]
OTHERS = ["true", "0", "4.0", "a\x00b", "x" * 255, "x" * 256, "\u00fc", "\u0661", True, False, None, [], {}]
EDGES = [*INTEGERS, *FLOATS, *CATEGORIES, *DAYS, *OTHERS]
ANY = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(EDGES),
)
CLEAN = st.fixed_dictionaries(
    {
        "size": st.one_of(st.floats(-1, 10), st.none()),
        "any": st.floats(-1e30, 1e30),
        "rooms": st.one_of(st.integers(1, 60), st.none()),
        "count": st.one_of(st.integers(-1000, 1000), st.none()),
        "new": st.one_of(st.booleans(), st.none()),
        "sold-on": st.one_of(st.dates(date(1990, 1, 1), date(2030, 1, 1)).map(str), st.none()),
        "state": st.sampled_from(["CA", "?x", None]),
        "zip": st.sampled_from(["00601", "12345", "x", None]),
        "diagnosis": st.sampled_from(["250", "250.13", "V45", "1", None]),
    }
)
ODD = st.tuples(st.sampled_from([feature.name for feature in FEATURES]), ANY)
ROWS = st.builds(lambda clean, odd: clean | dict(odd), CLEAN, st.lists(ODD, max_size=2))


def made(features: list, missing: list[str]) -> Contract:
    # A copy of a model keeps what the model has cached.
    return Contract(**dict(with_features(housing(), features)) | {"missing": missing})


@pytest.fixture(scope="module")
def contract() -> Contract:
    return made(FEATURES, ["?", "-999", "None"])


@pytest.fixture(scope="module", params=["row by row", "column by column"])
def decoder(contract, request) -> Iterator[Decoder]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "column by column":
            # Batches of the tests have up to three rows.
            patch.setattr("mlops_lab.decoder.BY_COLUMN", 0)
            patch.setattr("mlops_lab.decoder.CHUNK", 2)
        yield Decoder(contract)


def in_columns(rows: list) -> dict[str, list] | None:
    """The rows by column; None where they have no columns in common."""
    if not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
        return None
    return {name: [row[name] for row in rows] for name in rows[0]}


def same(contract: Contract, decoder: Decoder, body: bytes, rows: list[dict]) -> bool:
    """Checks that both agree; returns whether the compiled schema took the rows."""
    decoded, taken = decoder.decode(body), decoder.take(rows)
    try:
        typed = contract.read(rows)
    except ContractError:
        assert decoded is taken is None
        assert (columns := in_columns(rows)) is None or decoder.take_columns(columns) is None
        return False
    assert (decoded is None) >= (taken is None)
    if decoded is None:
        return False
    assert msgspec.json.encode(taken.rows) == msgspec.json.encode(decoded.rows)
    assert np.array_equal(taken.matrix, decoded.matrix, equal_nan=True)
    by_column = decoder.take_columns(in_columns(rows))
    assert (msgspec.json.encode(by_column.rows), by_column.matrix.tobytes()) == (
        msgspec.json.encode(taken.rows),
        taken.matrix.tobytes(),
    )
    # As text, 4 and 4.0 differ, and so do 0.0 and -0.0.
    assert orjson.dumps(orjson.loads(msgspec.json.encode(decoded.rows))) == orjson.dumps(typed)
    found, expected = decoded.matrix, contract.encode(typed)
    assert (found.dtype, found.shape, found.flags.c_contiguous) == (np.float32, expected.shape, True)
    assert np.array_equal(found, expected, equal_nan=True)
    return True


def same_as_texts(contract: Contract, decoder: Decoder, rows: list[dict]) -> bool:
    """The same for rows of texts, as CSV has; null is an empty text."""
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    taken = decoder.take(texts)
    try:
        typed = contract.read(texts)
    except ContractError:
        assert taken is None
        return False
    if taken is None:
        return False
    assert orjson.dumps(orjson.loads(msgspec.json.encode(taken.rows))) == orjson.dumps(typed)
    assert np.array_equal(taken.matrix, contract.encode(typed), equal_nan=True)
    return True


TEXTS = [
    "nan",
    "-inf",
    "Infinity",
    "1_000",
    "+4",
    "4e0",
    "4.",
    ".5",
    "-0",
    "0x1",
    "TRUE",
    "yes",
    " 4",
    "1e400",
]


@pytest.mark.parametrize("name", [feature.name for feature in FEATURES])
def test_every_kind_of_text_in_every_feature(contract, decoder, name):
    rows = [contract.example | {"diagnosis": "250", name: value} for value in (*EDGES, *TEXTS)]
    assert [row for row in rows if same_as_texts(contract, decoder, [row])]


@settings(max_examples=250, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_it_takes_no_texts_that_the_contract_refuses_or_reads_otherwise(contract, decoder, rows):
    same_as_texts(contract, decoder, rows)


@pytest.mark.parametrize("make", [housing, diabetes, covertype])
def test_it_takes_the_examples_of_the_shipped_use_cases_as_texts(make):
    contract = make()
    assert same_as_texts(contract, Decoder(contract), [contract.example])
    optional = dict.fromkeys(feature.name for feature in contract.features if not feature.required)
    assert same_as_texts(contract, Decoder(contract), [contract.example, contract.example | optional])


def test_rows_that_are_not_all_texts_or_have_other_fields_are_left_to_the_contract(contract, decoder):
    row = {name: str(value) for name, value in contract.example.items()} | {"diagnosis": "250", "new": "true"}
    assert decoder.take([row, row]) is not None
    for other in (row | {"size": 4.0}, row | {"more": "1"}, {k: v for k, v in row.items() if k != "zip"}, {}):
        assert decoder.take([row, other]) is None


@pytest.mark.parametrize("name", [feature.name for feature in FEATURES])
def test_every_kind_of_value_in_every_feature(contract, decoder, name):
    rows = [contract.example | {"diagnosis": "250", name: value} for value in EDGES]
    taken = [row for row in rows if same(contract, decoder, json.dumps(row).encode(), [row])]
    assert taken


@settings(max_examples=250, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_it_takes_no_row_that_the_contract_refuses_or_reads_otherwise(contract, decoder, rows):
    same(contract, decoder, json.dumps(rows[0]).encode(), rows[:1])
    same(contract, decoder, json.dumps({"rows": rows}).encode(), rows)


@settings(max_examples=120, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_it_takes_every_typed_row(contract, decoder, rows):
    # Larger integers are rare: they may be read the slow way. -999 is a word for missing.
    if typed := [row for row in contract.read_valid(rows) if abs(row["count"] or 0) <= 2**53]:
        body = orjson.dumps({"rows": typed})
        assert same(contract, decoder, body, orjson.loads(body)["rows"]) or b"-999" in body


@pytest.mark.parametrize("make", [housing, diabetes, covertype])
def test_it_takes_the_examples_of_the_shipped_use_cases(make):
    contract = make()
    assert same(contract, Decoder(contract), orjson.dumps(contract.example), [contract.example])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"rows": []}',
        b'{"rows": [1]}',
        b'{"rows": {}, "rows": [{}]}',
        b"[" * 100_000,
        b'{"size": NaN}',
        b'{"zip": "\xff"}',
        b'{"zip": "\\ud800"}',
    ],
)
def test_what_is_no_row_is_left_to_the_contract(decoder, body):
    assert decoder.decode(body) is None


def test_a_missing_an_unknown_and_a_repeated_field(contract, decoder):
    row = contract.example | {"diagnosis": "250"}
    assert same(contract, decoder, orjson.dumps(row), [row])
    assert not same(contract, decoder, orjson.dumps(row | {"more": 1}), [row | {"more": 1}])
    less = {name: value for name, value in row.items() if name != "zip"}
    assert not same(contract, decoder, orjson.dumps(less), [less])
    # As orjson does, it takes the last one.
    twice = orjson.dumps(row)[:-1] + b', "zip": "12345"}'
    assert same(contract, decoder, twice, [orjson.loads(twice)])


def test_rows_beside_another_field_or_as_a_feature_are_left_to_the_contract(contract, decoder):
    row = contract.example | {"diagnosis": "250"}
    assert decoder.decode(orjson.dumps({"rows": [row]})) is not None
    assert decoder.decode(orjson.dumps({"rows": [row], "more": 1})) is None
    assert Decoder(with_features(contract, [Integer("rows")])).decode(b'{"rows": 1}') is None


def test_words_for_missing_may_be_numbers_and_booleans():
    features = [Number("size"), Boolean("new")]
    row = {"size": 4.0, "new": True}
    for missing, taken in (([], True), (["?"], True), (["4"], False), (["true"], False)):
        other = made(features, missing)
        assert same(other, Decoder(other), orjson.dumps(row), [row]) is taken


def test_endless_new_texts_are_not_all_remembered(contract):
    decoder = Decoder(with_features(contract, [Category("zip", allow_unknown=True)]))
    for start in range(0, 3 * REMEMBERED_TEXTS, 1000):
        decoder.decode(orjson.dumps({"rows": [{"zip": f"z{n}"} for n in range(start, start + 1000)]}))
    assert decoder.remembered() <= REMEMBERED_TEXTS + 1
