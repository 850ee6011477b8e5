"""Calibration of probabilities: where it helps, where it is left out, and the same numbers from the graph."""

import numpy as np
import pytest

from mlops_lab.candidates import gradient_boosting
from mlops_lab.metrics import BRIER, LOG_LOSS, ROC_AUC
from mlops_lab.model.calibration import Calibration, calibrate
from mlops_lab.model.onnx_graph import OnnxGraph
from mlops_lab.model.train import train
from tests.support.cases import small_case


def drawn(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(true probabilities, classes that are drawn by them)."""
    random = np.random.default_rng(seed)
    odds = random.normal(0, 1.5, (n, classes)) - np.arange(classes)
    true = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    return true, (random.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1)


def too_sure(true: np.ndarray, factor: float = 2.5) -> np.ndarray:
    """Probabilities of a model that is surer than it should be: its log odds are too large by the factor."""
    odds = true**factor
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_that_is_too_sure_is_mended_on_new_rows(classes):
    true, truth = drawn(4000, classes)
    found = calibrate(too_sure(true), truth, np.arange(4000))
    new = drawn(4000, classes, seed=1)[0]
    assert np.abs(found(too_sure(new)) - new).mean() < 0.01 < 0.05 < np.abs(too_sure(new) - new).mean()
    assert found(too_sure(new)).sum(axis=1) == pytest.approx(np.ones(4000))
    # The order of the rows, and with it ROC AUC and the predicted class, is kept.
    assert (found(too_sure(new)).argmax(axis=1) == too_sure(new).argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_that_is_right_is_left_as_it_is(classes):
    kept = [
        calibrate(true, truth, np.arange(1000))
        for true, truth in (drawn(1000, classes, seed) for seed in range(20))
    ]
    # Of models that are right, chance mends a few, and by little.
    assert sum(found is None for found in kept) >= 10
    for found in kept:
        assert found is None or abs(found.weights[1, 1] - 1) < 0.25


@pytest.mark.parametrize(("rows", "groups"), [(150, 150), (1000, 4)], ids=["too few rows", "too few groups"])
def test_without_enough_rows_nothing_is_fitted(rows, groups):
    true, truth = drawn(rows, 2)
    assert calibrate(too_sure(true), truth, np.arange(rows) % groups) is None
    assert calibrate(too_sure(true), np.zeros(rows), np.arange(rows)) is None


def test_a_class_that_was_never_seen_keeps_the_probability_0():
    true, truth = drawn(2000, 3)
    sure = np.insert(too_sure(true), 1, 0.0, axis=1)
    found = calibrate(sure, np.array([0, 2, 3])[truth], np.arange(2000))
    assert (found(sure)[:, 1] == 0).all()


def test_rows_of_a_group_are_in_one_fold():
    """Ten copies of each of 60 rows: without the groups, chance in 60 rows would look like a fault of the model."""
    mended = 0
    for seed in range(20):
        true, truth = drawn(60, 2, seed)
        rows = np.repeat(np.arange(60), 10)
        mended += calibrate(true[rows], truth[rows], rows) is not None
    assert mended <= 10


def test_a_model_that_is_upside_down_is_left_as_it_is():
    true, truth = drawn(2000, 2)
    assert calibrate(true[:, ::-1], truth, np.arange(2000)) is None


@pytest.mark.parametrize(
    ("task", "params"),
    [
        ("binary", {"n_estimators": 60, "min_child_samples": 2}),
        ("multiclass", {"n_estimators": 150, "min_child_samples": 1, "learning_rate": 0.2}),
    ],
)
def test_the_graph_has_the_step_and_the_scores_are_better(frames, task, params, monkeypatch):
    """Boosted trees that learn their training rows by heart are too sure."""
    candidate = gradient_boosting(params)
    mended = train(small_case(task), candidate, frames[task])
    assert mended.params["calibration"].startswith({"binary": "log odds", "multiclass": "temperature"}[task])
    monkeypatch.setattr("mlops_lab.model.train.calibrate", lambda *_: None)
    plain = train(small_case(task), candidate, frames[task])
    assert plain.params["calibration"] == "none"
    matrix, truth, output = mended.holdout
    found = OnnxGraph(mended.model.SerializeToString()).run(matrix)
    assert found == pytest.approx(output, abs=1e-5)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)
    if task == "binary":
        # Probabilities below 0.01 % became equal.
        for metric in (LOG_LOSS, BRIER):
            assert metric(truth, output) < metric(truth, plain.holdout[2])
        assert ROC_AUC(truth, output) == pytest.approx(ROC_AUC(truth, plain.holdout[2]), abs=0.02)
    else:
        rows = np.arange(len(truth))
        losses = [
            -np.log(np.maximum(o[rows, truth.astype(int)], 1e-4)).mean() for o in (output, plain.holdout[2])
        ]
        assert losses[0] < losses[1]


def test_where_the_graph_would_differ_the_probabilities_stay_as_they_are(frames, monkeypatch):
    # What is not a number equals nothing.
    broken = Calibration(np.full((2, 2), np.nan), np.zeros(2))
    monkeypatch.setattr("mlops_lab.model.train.calibrate", lambda *_: broken)
    said: list[str] = []
    candidate = gradient_boosting({"n_estimators": 20})
    found = train(small_case("binary"), candidate, frames["binary"], progress=said.append)
    assert found.params["calibration"] == "none"
    assert any(line.startswith("its probabilities stay as they are: calibrated, refused: ") for line in said)


def test_it_says_what_it_does():
    assert str(Calibration(np.eye(3) / 2, np.zeros(3))) == "temperature 2"
    assert str(Calibration(np.array([[0, -0.5], [0, 0.5]]), np.array([0, -0.25]))) == "log odds × 0.5 -0.25"
