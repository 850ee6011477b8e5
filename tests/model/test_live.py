"""Challenger against champion on labelled predictions: clear losses count, chance and single groups don't."""

from datetime import datetime

import pytest

from mlops_lab.data.predictions import Labelled
from mlops_lab.model.live import MIN_LABELLED, Live, compare_live
from tests.support import models

NOON = datetime(2024, 1, 31, 12)


@pytest.fixture(scope="module")
def contracts(tmp_path_factory) -> dict:
    """By use case; the small models' metric is set to one of their task."""
    metrics = {"houses": ("rmse", False), "clinic": ("accuracy", True)}
    return {
        name: models.build(tmp_path_factory.mktemp(name), name).model_copy(
            update={"metric": metric, "greater_is_better": greater}
        )
        for name, (metric, greater) in metrics.items()
    }


def off_by(contract, errors: list[float], groups: list[str] | None = None) -> Live:
    """Predictions that differ from the true price by these errors."""
    groups = groups or [f"{n}" for n in range(len(errors))]
    rows = [
        Labelled(f"{n}", NOON, group, 100.0 + error, None, 100.0)
        for n, (error, group) in enumerate(zip(errors, groups, strict=True))
    ]
    return Live(contract, rows)


def test_a_clear_loss_is_worse_and_a_tie_and_a_gain_are_not(contracts):
    contract = contracts["houses"]
    champion = off_by(contract, [3.0, -5.0] * 100)
    found = compare_live("shadow", off_by(contract, [6.0, -6.0] * 100), champion)
    assert found.worse
    assert str(found) == "live as shadow rmse 6 against 4.123 on the same 200 labelled predictions"
    assert not compare_live("shadow", champion, champion).worse
    assert not compare_live("shadow", off_by(contract, [1.0] * 200), champion).worse
    # The other way round for a metric where greater is better.
    right = [Labelled(f"{n}", NOON, f"{n}", True, {"false": 0.1, "true": 0.9}, True) for n in range(200)]
    wrong = [Labelled(f"{n}", NOON, f"{n}", True, {"false": 0.1, "true": 0.9}, n % 2 > 0) for n in range(200)]
    better, worse = Live(contracts["clinic"], right), Live(contracts["clinic"], wrong)
    assert (better.score, worse.score) == (1.0, 0.5)
    assert compare_live("canary", worse, better).worse
    assert not compare_live("canary", better, worse).worse


def test_too_little_ground_truth_decides_nothing(contracts):
    contract = contracts["houses"]
    few, enough = off_by(contract, [50.0] * (MIN_LABELLED - 1)), off_by(contract, [1.0] * MIN_LABELLED)
    assert few.score is None
    assert compare_live("canary", few, enough) is None
    assert compare_live("canary", enough, few) is None
    assert compare_live("canary", off_by(contract, []), enough) is None


def test_odd_rows_of_one_group_refuse_nobody(contracts):
    contract = contracts["houses"]
    one_house = ["one"] * 30 + [f"{n}" for n in range(170)]
    challenger = off_by(contract, [20.0] * 30 + [4.0] * 170, one_house)
    champion = off_by(contract, [4.0] * 30 + [4.1] * 170, one_house)
    found = compare_live("shadow", challenger, champion)
    assert found.challenger_score > found.champion_score
    assert not found.worse
    # The same rows, each of a house of its own: no chance.
    assert compare_live("shadow", off_by(contract, [20.0] * 30 + [4.0] * 170), champion).worse


def test_rows_that_both_predicted_are_compared_as_pairs(contracts):
    """The challenger is a little worse on each row; between rows the errors differ far more."""
    contract = contracts["houses"]
    errors = [float(n) for n in range(200)]
    champion, challenger = off_by(contract, errors), off_by(contract, [error + 0.5 for error in errors])
    assert compare_live("shadow", challenger, champion).worse
    others = [f"other {n}" for n in range(200)]
    assert not compare_live("canary", off_by(contract, [e + 0.5 for e in errors], others), champion).worse
