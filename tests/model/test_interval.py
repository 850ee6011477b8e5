"""Prediction intervals: what they cover, on which scale, and what a model without them says."""

import numpy as np
import pytest

from mlops_lab.candidates import ridge
from mlops_lab.contract import Contract
from mlops_lab.data.rows import rows
from mlops_lab.errors import UseCaseError
from mlops_lab.model.interval import coverage, fit_interval, limits
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.train import train
from tests.support.cases import small_case


def _market(random: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(truth, prediction, group) of prices: one to four rows a group, errors that rise with the price."""
    group = np.repeat(np.arange(groups), random.integers(1, 5, groups))
    level = random.uniform(3, 6, groups)[group]
    # Two thirds of an error belong to the group.
    error = (0.2 * random.normal(size=groups)[group] + 0.1 * random.standard_t(4, len(group))) * level / 4
    return np.expm1(level + error), np.expm1(level), group


def test_intervals_cover_their_share_of_new_groups_in_each_band(trained):
    random, contract = np.random.default_rng(0), trained["regression"].contract
    shares, bands = [], []
    for _ in range(60):
        truth, output, group = _market(random, 800)
        interval = fit_interval(True, truth, output, group)
        assert (interval.rows, interval.groups, len(interval.radii)) == (len(truth), 800, 5)
        found = contract.model_copy(update={"interval": interval})
        truth, output, _ = _market(random, 800)
        shares.append(coverage(found, truth, output)["interval_coverage"])
        cheap, dear = output <= interval.edges[0], output > interval.edges[-1]
        bands.append([coverage(found, truth[b], output[b])["interval_coverage"] for b in (cheap, dear)])
    assert np.mean(shares) == pytest.approx(0.9, abs=0.01)
    assert np.mean(bands, axis=0) == pytest.approx([0.9, 0.9], abs=0.015)


def test_a_use_case_chooses_how_many_true_values_are_inside(frames, trained):
    def made(level: float):
        return train(small_case("regression", interval=level), ridge((1.0,)), frames["regression"]).contract

    half, most = made(0.5).interval, made(0.95).interval
    assert (half.level, most.level, trained["regression"].contract.interval.level) == (0.5, 0.95, 0.9)
    assert half.radii[0] < most.radii[0] / 2
    assert half.coverage == pytest.approx(0.5, abs=0.12)
    for task, level in (("regression", 1.0), ("binary", 0.8)):
        with pytest.raises(UseCaseError, match="interval must be between 0 and 1, and needs a Number"):
            small_case(task, interval=level)


def test_the_rank_of_the_error_is_that_of_split_conformal_prediction():
    truth, output = np.arange(1.0, 20.0), np.zeros(19)
    # With one row a group: ceil(0.9 · 20) = 18 of 19 errors.
    assert fit_interval(False, truth, output, np.arange(19)).radii == [18.0]
    # In fewer groups the error is a larger one, and of eight groups none is large enough.
    assert fit_interval(False, truth, output, np.arange(19) % 10).radii == [19.0]
    assert fit_interval(False, truth, output, np.arange(19) % 8) is None


def test_an_interval_is_a_factor_on_the_log_scale_and_stays_in_the_targets_range(trained):
    contract = trained["regression"].contract
    interval = contract.interval.model_copy(
        update={"log": True, "edges": [100.0], "radii": [np.log(2), np.log(3)]}
    )
    free = contract.target.model_copy(update={"minimum": None})
    factor = contract.model_copy(update={"interval": interval, "target": free})
    found = limits(factor, [0.0, 99.0, 100.0, 299.0])
    assert found == pytest.approx(np.array([[0, 1], [49, 199], [49.5, 201], [99, 899]]))
    plain = interval.model_copy(update={"log": False, "edges": [], "radii": [50.0]})
    target = contract.target.model_copy(update={"minimum": 0.0, "maximum": 120.0})
    narrow = contract.model_copy(update={"interval": plain, "target": target})
    assert limits(narrow, [10.0, 100.0]).tolist() == [[0.0, 60.0], [50.0, 120.0]]


def test_training_measures_the_intervals_on_test_rows(frames, trained):
    frame, contract = frames["regression"], trained["regression"].contract
    test = frame[frame["split"] == "test"]
    truth = contract.encode_target(test["rent"])
    predictor = Predictor(contract, trained["regression"].model.SerializeToString())
    pairs = np.array(predictor.intervals(predictor.run(contract.encode(rows(test)))))
    inside = (pairs[:, 0] <= truth) & (truth <= pairs[:, 1])
    assert contract.interval.level == 0.9
    assert contract.interval.rows == (frame["split"] == "validation").sum()
    assert contract.interval.coverage == pytest.approx(inside.mean())
    assert 0.85 < contract.interval.coverage < 0.95
    assert contract.interval.width == pytest.approx(np.median(pairs[:, 1] - pairs[:, 0]))


def test_classifiers_and_models_of_an_earlier_release_have_no_intervals(trained):
    assert trained["binary"].contract.interval is None
    stored = trained["regression"].contract.model_dump(mode="json")
    del stored["interval"]
    old = Contract.model_validate(stored)
    assert old.interval is None
    assert Predictor(old, trained["regression"].model.SerializeToString()).intervals([1.0]) is None
    assert coverage(old, np.ones(1), np.ones(1)) == {}
