"""The error before the ground truth comes: what it says without a shift, and on rows that are harder or easier."""

import math
import random

import numpy as np
import pytest

from mlops_lab.candidates import gradient_boosting, linear_regression
from mlops_lab.data.rows import rows
from mlops_lab.metrics import BRIER, METRICS
from mlops_lab.model.estimate import estimate, simulated_on_test
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.train import train
from tests.support.cases import clean_rows, small_case, small_rows


def noisy_rows(n: int, seed: int = 3) -> list[dict]:
    """Rents of flats that are heated with wood can't be told well, and nobody knows who lets them."""
    chance = random.Random(7)
    found = small_rows(n, seed=seed)
    for row in found:
        if row["heating"] == "wood":
            row["rent"] *= math.exp(chance.gauss(0, 0.6))
            row["let"] = chance.random() < 0.5
    return found


class Live:
    """A model of noisy rows, and rows that it didn't learn from as its traffic."""

    def __init__(self, task: str, candidate, **values):
        use_case = small_case(task, [candidate], **values)
        frame = clean_rows(use_case, noisy_rows(6000))
        made = train(use_case, candidate, frame)
        self.contract, self.holdout = made.contract, made.holdout
        self.traffic = clean_rows(use_case, noisy_rows(1200, seed=4)).reset_index(drop=True)
        self.matrix = self.contract.encode(rows(self.traffic[[f.name for f in use_case.features]]))
        self.output = Predictor(made.contract, made.model.SerializeToString()).run(self.matrix)
        self.truth = self.contract.encode_target(self.traffic[use_case.target.name])

    def estimate(self, picked: np.ndarray):
        return estimate(self.contract, self.matrix[picked], self.output[picked])

    def measured(self, picked: np.ndarray) -> float:
        """What the feedback says later."""
        metric = METRICS[self.contract.metric]
        return metric(self.truth[picked], self.output[picked], self.contract.threshold)


@pytest.fixture(scope="module", params=["regression", "binary"])
def live(request) -> Live:
    if request.param == "regression":
        return Live("regression", linear_regression(log_target=True))
    return Live("binary", gradient_boosting({"n_estimators": 40, "num_leaves": 5}), metric=BRIER)


def test_without_a_shift_it_stays_in_the_test_interval(live):
    everything = np.arange(len(live.truth))
    found = live.estimate(everything)
    assert not found.worse
    assert found.test_interval == live.contract.evaluation.intervals[live.contract.metric]
    low, high = found.test_interval
    assert low < found.score < high
    assert found.interval[0] < live.measured(everything) < found.interval[1]
    # So do samples of the traffic: of twenty none is called worse.
    chance = np.random.default_rng(0)
    samples = [chance.choice(everything, 400, replace=False) for _ in range(20)]
    assert not any(live.estimate(np.sort(picked)).worse for picked in samples)


def test_rows_that_are_harder_are_told_before_their_ground_truth_comes(live):
    hard = np.flatnonzero(live.traffic["heating"] == "wood")
    found, measured = live.estimate(hard), live.measured(hard)
    assert found.worse
    assert found.score == pytest.approx(measured, rel=0.12)
    if live.contract.task == "regression":
        # So are rows without an area: nothing tells their rent as well.
        lost = np.flatnonzero(live.traffic["area"].isna())
        assert live.estimate(lost).worse
        assert live.estimate(lost).score == pytest.approx(live.measured(lost), rel=0.12)
    easy = np.flatnonzero(live.traffic["heating"] == "gas")
    assert not live.estimate(easy).worse
    assert live.estimate(easy).score == pytest.approx(live.measured(easy), rel=0.12)


def test_the_draws_have_the_expected_score(trained):
    # Of rows with the probabilities p: an accuracy of mean(max p), a Brier score of mean(p (1 - p)).
    matrix, _, output = trained["multiclass"].holdout
    contract = trained["multiclass"].contract
    assert contract.metric == "accuracy"
    simulated = simulated_on_test(contract, contract.evaluation, matrix, output)
    assert simulated == contract.evaluation.simulated
    assert simulated == pytest.approx(output.max(axis=1).mean(), abs=0.01)
    matrix, _, output = trained["binary"].holdout
    contract = trained["binary"].contract.model_copy(update={"metric": "brier", "greater_is_better": False})
    simulated = simulated_on_test(contract, contract.evaluation, matrix, output)
    assert simulated == pytest.approx((output[:, 1] * output[:, 0]).mean(), abs=0.01)


def test_each_row_is_in_one_cell_and_a_missing_value_is_in_one_too(live):
    if live.contract.task != "regression":
        assert live.contract.evaluation.cells == []
        return
    cells = live.contract.evaluation.cells
    assert len(cells) > 1
    assert sum(cell.rows for cell in cells) == live.contract.evaluation.rows
    assert min(cell.rows for cell in cells) >= 100
    names = [*(feature.name for feature in live.contract.features), "rent"]
    matrix, _, output = live.holdout
    columns = np.column_stack([matrix, output]).astype(float)
    assert np.isnan(columns).any()
    columns = np.where(np.isnan(columns), -np.inf, columns)
    times = np.zeros(len(columns), dtype=int)
    for cell in cells:
        inside = np.ones(len(columns), dtype=bool)
        for name, (above, upto) in cell.within.items():
            column = columns[:, names.index(name)]
            inside &= (above is None or column > above) & (upto is None or column <= upto)
        assert inside.sum() == cell.rows
        times += inside
    assert set(times) == {1}


def test_it_is_relative_to_the_test_rows_and_a_model_of_an_earlier_release_has_none(live):
    old = live.contract.model_copy(update={"evaluation": None})
    assert estimate(old, live.matrix, live.output) is None
    # What the simulation is wrong by on the test rows, it is taken to be wrong by on others.
    doubled = live.contract.evaluation.model_copy(
        update={"simulated": live.contract.evaluation.simulated * 2}
    )
    half = estimate(live.contract.model_copy(update={"evaluation": doubled}), live.matrix, live.output)
    assert half.score == pytest.approx(estimate(live.contract, live.matrix, live.output).score / 2)
    assert estimate(live.contract, live.matrix[:0], live.output[:0]) is None
