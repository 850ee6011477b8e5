"""From the payload to RawData to CleanData: a value is the same after it was stored as a text."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_lab.data.payload import RawBatch
from mlops_lab.data.prepare import prepare
from mlops_lab.data.split import split_of, with_split
from mlops_lab.data.store import Store
from mlops_lab.data.validate import validate
from mlops_lab.errors import LabError
from mlops_lab.features import Boolean, Category, Date, FieldError, Integer, Number, as_text
from tests.support.cases import small_case, small_rows

MISSING = frozenset({"?", "999", "999.0", "true", "nan"})
FEATURES = [
    Number("number"),
    Number("required", required=True),
    Number("bounded", minimum=0, maximum=1000),
    Integer("integer"),
    Boolean("boolean"),
    Date("date"),
    Category("category", allow_unknown=True),
    Category("closed", allowed=["1", "0.5", "nan", "true"]),
    Category("padded", width=5, allow_unknown=True),
]
# Numbers and words that a feature could read in two ways.
ODD = [
    *(None, True, False, 0, 1, 0.0, -0.0, 1.0, 0.5, 601, 601.0, 0.1 + 0.2, 1e15, 1e16, 1234567890123456.0),
    *(999, 999.0, 20240131, math.nan, math.inf),
    *("", " ", "?", " ?", "true", "No", "1.0", "NaN", "Infinity", " 601 ", "601.0", "1e3", "2024-01-31T00"),
]
# Single values of JSON. The databases refuse half of a surrogate pair.
VALUES = st.one_of(
    st.sampled_from(ODD),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.dates().map(str),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


def accepts(feature, raw) -> bool:
    try:
        feature.read(raw, MISSING)
    except FieldError:
        return False
    return True


@pytest.mark.parametrize("missing", [frozenset(), MISSING], ids=["no words for null", "words for null"])
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
@settings(deadline=None, max_examples=300)
@given(raw=VALUES)
def test_a_stored_text_is_read_as_the_value_it_came_from(feature, missing, raw):
    try:
        value = feature.read(raw, missing)
    except FieldError:
        return  # it goes to quarantine
    again = feature.read(as_text(raw), missing)
    assert type(again) is type(value)
    assert again == value


def test_rows_of_raw_data_are_typed_as_the_payload_was(tmp_path):
    use_case = replace(small_case("regression"), features=FEATURES, missing=sorted(MISSING))
    accepted = {column.name: [raw for raw in ODD if accepts(column, raw)] for column in use_case.columns}
    rows = [{name: odd[i % len(odd)] for name, odd in accepted.items()} for i in range(200)]
    rows += [{name: [] for name in accepted}]
    payload = RawBatch(1, rows, [3 * i for i in range(201)], [(1, "it has no row", 7)], [])
    checked = validate(payload, use_case)
    assert len(checked.typed) == 200

    store = Store(f"sqlite:///{tmp_path / 'Raw.db'}", f"sqlite:///{tmp_path / 'Clean.db'}")
    store.prepare_tables(use_case)
    kept = with_split(use_case, checked.typed)
    counts = store.put_raw(use_case, 1, [(payload, kept, checked.problems)])
    assert counts == {"received": 202, "stored": 200, "quarantined": 2}
    pd.testing.assert_frame_equal(store.read_raw(use_case, 1), kept)
    assert store.read_raw(use_case, 2).empty


def test_a_stored_row_that_no_longer_fits_is_named(tmp_path):
    use_case = small_case("regression")
    store = Store(f"sqlite:///{tmp_path / 'Raw.db'}", f"sqlite:///{tmp_path / 'Clean.db'}")
    store.prepare_tables(use_case)
    rows = small_rows(20)
    rows[0]["area"] = "50"
    payload = RawBatch(1, rows, list(range(20)), [], [])
    kept = with_split(use_case, validate(payload, use_case).typed)
    store.put_raw(use_case, 1, [(payload, kept, [])])
    stricter = [Number("area", minimum=60), *use_case.features[1:]]
    with pytest.raises(
        LabError, match=r"row 0 of RawData no longer fits small_regression: area must be at least 60"
    ):
        store.read_raw(replace(use_case, features=stricter), 1)


@pytest.fixture(scope="module")
def typed():
    use_case = small_case("regression")
    payload = RawBatch(1, small_rows(200), list(range(200)), [], [])
    return with_split(use_case, validate(payload, use_case).typed)


def test_clean_rows_keep_their_group_and_split(typed):
    def clean(frame):
        assert "group_hash" not in frame
        frame = frame[frame["area"].fillna(100) > 30]
        return frame.assign(rent=frame["rent"].where(frame["rent"] > 200))

    prepared = prepare(small_case("regression", clean=clean, group_key=["area", "floor"]), typed)
    frame = prepared.frame
    assert prepared.dropped == len(typed) - len(frame) > 0
    assert frame["rent"].min() > 200
    pd.testing.assert_frame_equal(
        frame[["group_hash", "split"]], typed.loc[frame.index, ["group_hash", "split"]]
    )
    assert (frame["group_hash"].map(split_of) == frame["split"]).all()
    assert list(frame.columns)[-3:] == ["row_hash", "group_hash", "split"]


def test_equal_rows_have_equal_hashes_and_different_rows_have_not(typed):
    prepared = prepare(small_case("regression"), typed).frame
    names = [name for name in prepared.columns if name not in ("row_hash", "group_hash", "split")]
    texts = [json.dumps([str(value) for value in row]) for row in prepared[names].itertuples(index=False)]
    assert len(set(texts)) == prepared["row_hash"].nunique()


@pytest.mark.parametrize(
    ("clean", "message"),
    [
        (lambda frame: frame.drop(columns="floor"), "small_regression doesn't return the columns: floor"),
        (lambda frame: frame.set_index(frame.index + 1000), "changes the frame's index"),
    ],
)
def test_a_clean_function_that_breaks_its_contract_is_named(typed, clean, message):
    with pytest.raises(LabError, match=message):
        prepare(small_case("regression", clean=clean), typed)
