"""Rows are typed by the contract's rules, and what breaks one is named."""

import json

import pandas as pd
import pytest

from mlops_lab.data.payload import parse
from mlops_lab.data.validate import validate
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
