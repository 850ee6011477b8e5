"""The split by day: the newest rows test, and no row that a model has learnt from ever tests it."""

import random
from dataclasses import replace
from datetime import date, timedelta

import pandas as pd
import pytest

from mlops_lab.data.by_day import Days, days
from mlops_lab.data.split import SEALED
from mlops_lab.errors import UseCaseError
from mlops_lab.loop import run_batch
from mlops_lab.model.card import card
from mlops_lab.steps.reproduce import reproduce
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")
FIRST = date(2023, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def sold(n: int, begin: int, end: int, seed: int = 0) -> list[list]:
    """Rows of the small use case that were built on days of this range."""
    some = random.Random(seed)
    return [[*row[:4], day(some.randrange(begin, end)).isoformat(), row[5]] for row in flats(n, seed=seed)]


@pytest.fixture
def by_day(use_case):
    return replace(use_case, split_day="built")


def test_the_newest_fifth_tests_and_the_fifth_before_it_validates():
    assert days([(1, day(n), 10) for n in range(100)]) == Days(day(60), day(80))
    # A day's rows stay together, so a part may have more than its share.
    assert days([(1, day(0), 50), (1, day(1), 50)]) == Days(day(1), day(1))
    assert days([(1, day(0), 50)]) == Days(day(0), day(0))
    assert days([]) is None


def test_the_days_never_move_back():
    first = [(1, day(n), 10) for n in range(100)]
    older = [(2, day(-n), 100) for n in range(1, 100)]
    assert days([*first, *older]) == days(first)
    newer = [(3, day(100 + n), 100) for n in range(100)]
    assert days([*older, *newer, *first]).test > day(100)


def test_a_day_must_be_a_date_of_the_features(use_case):
    for name in ("area", "sold_on"):
        with pytest.raises(UseCaseError, match=f"split_day is '{name}', which is no Date of its features"):
            replace(use_case, split_day=name)


def parts(frame: pd.DataFrame) -> dict[str, tuple[date, date]]:
    """The first and the last day of each split."""
    built = pd.to_datetime(frame["built"]).dt.date
    return {
        split: (built[rows.index].min(), built[rows.index].max()) for split, rows in frame.groupby("split")
    }


def test_no_model_is_tested_on_rows_that_it_has_learnt_from(lab, course, by_day):
    rows = [*sold(600, 0, 100), [50, 1, "north", True, None, 500]]
    course.will_answer(
        batch(1, rows), batch(2, sold(300, -100, 0, seed=1)), batch(3, sold(300, 100, 150, 2)), END
    )
    assert run_batch(lab, by_day).outcome.promoted
    frame = lab.snapshots.read(by_day)
    found = parts(frame)
    assert found["train"][1] < found["validation"][0] <= found["validation"][1] < found["test"][0]
    assert frame["split"].value_counts(normalize=True)["train"] == pytest.approx(0.6 / 0.95, abs=0.05)
    assert set(frame.loc[frame["built"].isna(), "split"]) == {"train"}
    sealed = lab.snapshots.read(by_day, split=SEALED)
    assert 10 < len(sealed) < 60
    assert parts(sealed)[SEALED][0] >= found["test"][0] - timedelta(days=3)
    assert not set(sealed["group_hash"]) & set(frame.loc[frame["split"] == "test", "group_hash"])

    learnt = set(frame.loc[frame["split"] != "test", "row_hash"])
    for _ in range(2):
        run_batch(lab, by_day)
        test = lab.snapshots.read(by_day, split="test")
        assert len(test) >= 80
        assert not learnt & set(test["row_hash"])
        counts = lab.snapshots.targets_by_split(by_day, until=3)
        assert counts["test"][0] == len(test)
        assert set(counts) == {"train", "validation", "test"}
    # The first version's rows are told again by its batches alone.
    assert lab.snapshots.read(by_day, until=1).equals(frame)
    assert reproduce(lab, by_day, 1).causes == []
    contract = lab.predictor(lab.registry.version("flats", 1)).contract
    assert "The newest rows by `built` test, those before them validate." in card(contract)


def test_a_champion_whose_rows_were_split_otherwise_is_replaced(lab, course, use_case, by_day):
    course.will_answer(batch(1, sold(600, 0, 100)), batch(2, sold(300, 100, 150, 1)), END)
    assert run_batch(lab, use_case).outcome.promoted
    found = run_batch(lab, by_day).outcome
    assert found.promoted
    assert "the champion's rows were split otherwise" in found.reason
    # The version of then comes out again, although the use case splits by day now.
    assert reproduce(lab, by_day, 1).causes == []
