"""A tuned candidate: its grid first, then Optuna's points; bad ones are given up, and a search can go on."""

import numpy as np
import pytest

from mlops_lab.candidates import gradient_boosting, over_sampled, random_forest, ridge, tuned
from mlops_lab.errors import ModelError, UseCaseError
from mlops_lab.model import tuner
from mlops_lab.model.train import train
from mlops_lab.model.tuner import Known
from tests.support.cases import small_case

ALPHA = {"alpha": (1e-3, 1e9, "log")}


class Kept:
    """A journal in memory."""

    def __init__(self, earlier=()):
        self.kept = list(earlier)

    def points(self):
        return list(self.kept)

    def add(self, point):
        self.kept.append(point)


def searched(frame, candidate, task="regression", earlier=()):
    journal = Kept(earlier)
    trained = train(small_case(task), candidate, frame, journal=journal)
    return trained, journal.kept


@pytest.mark.parametrize(
    ("space", "bounds", "line"),
    [
        ({}, {}, "needs a space"),
        ({"alpha": (1, 2, 3, 4)}, {}, r"the space of alpha is \(1, 2, 3, 4\); it must be \(low, high\)"),
        ({"alpha": (1, 2, "ln")}, {}, "it must be"),
        ({"alpha": 7}, {}, "it must be"),
        ({"alpha": (2.0, 1.0)}, {}, "low must be below high"),
        ({"alpha": (1.0, float("inf"))}, {}, "both must be finite"),
        ({"alpha": ("1", "2")}, {}, "must be numbers"),
        ({"alpha": (0, 1, "log")}, {}, "begins above 0"),
        ({"alpha": [3]}, {}, "two choices or more"),
        ({"alpha": [(1, 2), (3, 4)]}, {}, "a choice is a number, a text, a boolean or None"),
        (ALPHA, {"trials": None}, "needs a bound"),
        (ALPHA, {"trials": 5}, "5 trials leave none for tuning: the grid of ridge has 5 points"),
        (ALPHA, {"trials": 5000}, "1 to 1,000 trials"),
        (ALPHA, {"seconds": 0}, "more than 0 seconds"),
    ],
)
def test_a_space_or_a_bound_that_cannot_be_used_is_one_line(space, bounds, line):
    with pytest.raises(UseCaseError, match=line) as found:
        tuned(ridge(), space, **bounds)
    assert "\n" not in str(found.value)


def test_the_grid_comes_first_and_then_the_space(frames):
    candidate = tuned(ridge((1e8, 1.0)), ALPHA, trials=8)
    trained, points = searched(frames["regression"], candidate)
    assert trained.candidate == "tuned_ridge"
    assert [point.params for point in points[:2]] == [{"alpha": 1e8}, {"alpha": 1.0}]
    assert [point.number for point in points] == list(range(8))
    assert len({point.params["alpha"] for point in points}) == 8
    assert all(1e-3 <= point.params["alpha"] <= 1e9 for point in points)
    best = min(points, key=lambda point: point.value)
    assert trained.params["alpha"] == best.params["alpha"]
    assert trained.metrics["validation"]["rmse_log"] == pytest.approx(best.value, rel=1e-4)
    assert [trial["rmse_log"] for trial in trained.trials] == [point.value for point in points]


def test_ranges_choices_and_what_the_space_does_not_name(frames):
    first = {"n_estimators": 20, "num_leaves": 5}
    space = {"num_leaves": (3, 9), "learning_rate": (0.02, 0.3, "log"), "max_depth": [None, 4]}
    grid = [first, {"n_estimators": 10, "num_leaves": 50}]
    candidate = tuned(over_sampled(gradient_boosting(*grid)), space, trials=9)
    trained, points = searched(frames["binary"], candidate, "binary")
    assert trained.candidate == "tuned_over_sampled_gradient_boosting"
    # A point of the grid is fitted as it is, also beyond the space.
    assert [point.params for point in points[:2]] == grid
    for point in points[2:]:
        assert point.params.keys() == {"n_estimators", *space}
        assert point.params["n_estimators"] == 20
        assert point.params["num_leaves"] in range(3, 10)
        assert 0.02 <= point.params["learning_rate"] <= 0.3
        assert point.params["max_depth"] in (None, 4)


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(frames, monkeypatch):
    monkeypatch.setattr(tuner, "FEWEST", 50)
    candidate = tuned(ridge((1.0, 10.0)), ALPHA, trials=16)
    whole, points = searched(frames["regression"], candidate)
    resumed, again = searched(frames["regression"], candidate, earlier=points[:13])
    assert [point.params for point in again] == [point.params for point in points]
    assert [point.value for point in again] == [point.value for point in points]
    assert resumed.params == whole.params
    # Nothing is left to try: the best point is fitted once more.
    known = train(small_case("regression"), candidate, frames["regression"], journal=Known(points))
    assert known.model.SerializeToString() == whole.model.SerializeToString()


def test_a_bad_point_is_given_up_on_a_share_of_the_rows_and_the_grid_never_is(frames, monkeypatch):
    monkeypatch.setattr(tuner, "FEWEST", 50)
    rows = int((frames["regression"]["split"] == "train").sum())
    candidate = tuned(ridge((1.0, 3.0, 10.0, 30.0, 90.0, 1e9)), ALPHA, trials=25)
    trained, points = searched(frames["regression"], candidate)
    given_up = [point for point in points if point.value is None]
    ended = [point for point in points if point.value is not None]
    assert given_up
    assert all(point.number >= 6 for point in given_up)
    assert {max(point.partial) for point in given_up} <= {rows // 9, rows // 3}
    assert all(sorted(point.partial) == [rows // 9, rows // 3] for point in ended)
    # Worse than the median on the same rows, and never the model.
    for point in given_up:
        count = max(point.partial)
        before = [other.partial[count] for other in ended if other.number < point.number]
        assert point.partial[count] > np.median(before)
    assert trained.params["alpha"] == min(ended, key=lambda point: point.value).params["alpha"]
    assert len(trained.trials) == len(ended)


def test_few_rows_are_fitted_at_once(frames):
    _, points = searched(frames["regression"], tuned(ridge((1.0,)), ALPHA, trials=8))
    assert all(point.value is not None and point.partial == {} for point in points)


def test_seconds_end_the_search_and_never_the_grid(frames):
    candidate = tuned(ridge((1.0, 2.0)), ALPHA, trials=None, seconds=1e-9)
    _, points = searched(frames["regression"], candidate)
    assert len(points) == 2


def test_a_point_that_cannot_be_fitted_refuses_the_candidate_with_one_line(frames):
    candidate = tuned(random_forest({"n_estimators": 3}), {"max_depth": (-9, -1)}, trials=3)
    with pytest.raises(
        ModelError, match=r"it can't learn with n_estimators 3, max_depth -\d: InvalidParameterError"
    ):
        searched(frames["regression"], candidate)
