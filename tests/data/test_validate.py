"""Rows are typed by the contract's rules, and what breaks one is named."""

import contextlib
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_lab.contract import Contract
from mlops_lab.data.payload import parse
from mlops_lab.data.rows import rows as plain_rows
from mlops_lab.data.validate import read_texts, validate
from mlops_lab.errors import ContractError
from mlops_lab.features import Category, as_text
from mlops_lab.use_case import get_use_case
from tests.support.flats import batch, flats


def checked(use_case, rows):
    return validate(parse(json.dumps(batch(1, rows)).encode(), use_case), use_case)


def test_texts_and_numbers_become_the_same_typed_rows(use_case):
    rows = flats(20)
    texts = [["" if value is None else str(value) for value in row] for row in rows]
    pd.testing.assert_frame_equal(checked(use_case, rows).typed, checked(use_case, texts).typed)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("area", "wide", "type"),
        ("area", 4, "minimum"),
        ("area", 501, "maximum"),
        ("area", None, "missing"),
        ("floor", 2.5, "type"),
        ("floor", [1], "type"),
        ("area", "5\ud800", "encoding"),
        ("built", "1990-05-15\ud800", "encoding"),
        ("district", "\ud800", "encoding"),
        ("balcony", "perhaps", "type"),
        ("built", "yesterday", "type"),
        ("district", "x" * 300, "length"),
        ("rent", -5, "minimum"),
    ],
)
def test_a_bad_row_among_good_ones_is_set_apart_with_its_rule(use_case, column, value, rule):
    rows = flats(5)
    rows[2][[c.name for c in use_case.columns].index(column)] = value
    result = checked(use_case, rows)
    assert list(result.typed.index) == [0, 1, 3, 4]
    assert [(p.row, p.column, p.rule) for p in result.problems] == [(2, column, rule)]


def test_every_problem_of_a_row_is_named_but_the_row_counts_once(use_case):
    rows = flats(3)
    rows[1] = [-1, "high", "north", True, "2000-01-01", 0]
    result = checked(use_case, rows)
    assert {p.column for p in result.problems} == {"area", "floor", "rent"}
    assert list(result.typed.index) == [0, 2]


def test_a_rule_of_the_use_case_sets_rows_apart(lab, use_case):
    from dataclasses import replace

    strict = replace(use_case, rules={"affordable": lambda frame: frame["rent"] < 1000})
    rows = flats(200)
    dear = {place for place, row in enumerate(rows) if row[-1] >= 1000}
    result = checked(strict, rows)
    assert dear
    assert {p.row for p in result.problems} == dear
    assert {p.rule for p in result.problems} == {"affordable"}


_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["", "1_000", "１２", "1e400", "nan", "-0.0", "true", "2024-01-31T99", "x" * 256]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
_USUAL = (
    st.floats(5, 500) | st.sampled_from(["12.5", " 7 ", "5e1"]),
    st.none() | st.integers(-2, 60) | st.integers(0, 9).map(lambda n: f"{n}.0"),
    st.none() | st.sampled_from(["north", "south", "Atlantis", 601, 601.0]),
    st.none() | st.booleans() | st.sampled_from(["yes", "No", 0, 1.0]),
    st.none() | st.dates().map(str) | st.datetimes().map(str),
)


@given(rows=st.lists(st.tuples(*(usual | usual | _ODD for usual in _USUAL)), min_size=1, max_size=6))
def test_training_and_serving_read_any_row_alike(flats_folder, rows):
    use_case = get_use_case(flats_folder, "flats")
    known = {"vocabulary": ["north", "south", "601"]}
    features = [f.model_copy(update=known) if isinstance(f, Category) else f for f in use_case.features]
    contract = Contract(
        use_case="flats", title="", task="regression", target=use_case.target, features=features,
        missing=use_case.missing, metric="rmse", greater_is_better=False,
    )  # fmt: skip
    names = [f.name for f in features]
    sent = [dict(zip(names, row, strict=True)) for row in rows]
    served = {}
    for place, row in enumerate(sent):
        with contextlib.suppress(ContractError):
            served[place] = contract.read([row])[0]
    result = checked(use_case, [[*row, 1000] for row in rows])
    assert list(result.typed.index) == list(served)
    assert {problem.row for problem in result.problems} == set(range(len(rows))) - served.keys()
    trained = contract.encode(plain_rows(result.typed[names]))
    assert np.array_equal(trained, contract.encode(served.values()), equal_nan=True)
    # RawData keeps texts; the clean rows are made of those.
    texts = [{name: as_text(sent[place][name]) for name in names} | {"rent": "1000"} for place in served]
    again = read_texts(
        use_case, pd.DataFrame(texts, index=list(served), columns=[*names, "rent"], dtype=object)
    )
    assert np.array_equal(contract.encode(plain_rows(again[names])), trained, equal_nan=True)
