"""Permutation SHAP: exact for known models, always additive, and equal to the shap library."""

import numpy as np
import pytest
import shap

from mlops_lab.model.explain import explain
from mlops_lab.model.predictor import Predictor
from tests.support import models

RNG = np.random.default_rng(0)


def _background(m: int, features: int) -> np.ndarray:
    return RNG.normal(size=(m, features)).astype(np.float32)


def test_linear_model_has_the_known_values(tmp_path):
    models.linear(tmp_path)
    predictor = Predictor.load(tmp_path)
    base, values = explain(predictor.run, np.float32([[50, 4]]), predictor.background)
    # y = 2 area + 3 rooms; the background's mean is (20, 2)
    assert base == pytest.approx([46], rel=1e-5)
    assert values == pytest.approx(np.array([[60, 6]]), rel=1e-5)


def test_agrees_with_shaps_exact_explainer_where_two_features_interact():
    def run(x):
        return x[:, 0] * x[:, 1] + 2 * x[:, 2] - x[:, 3] * x[:, 0]

    background, rows = _background(12, 4), _background(3, 4)
    base, values = explain(run, rows, background, rounds=1)
    exact = shap.explainers.Exact(run, background)(rows)
    assert values == pytest.approx(exact.values, abs=1e-5)
    assert base == pytest.approx(exact.base_values, abs=1e-5)


def test_agrees_with_shap_on_a_forest(tmp_path):
    models.build(tmp_path, "houses")
    predictor = Predictor.load(tmp_path)
    contract = predictor.contract
    rows = contract.encode(contract.read(models.raw_rows(4, seed=3)))
    exact = shap.explainers.Exact(lambda x: predictor.run(x.astype(np.float32)), predictor.background)(rows)
    _, values = explain(predictor.run, rows, predictor.background, rounds=20)
    scale = np.abs(exact.values).max()
    assert np.abs(values - exact.values).max() < 0.03 * scale
    _, few = explain(predictor.run, rows, predictor.background)
    assert np.abs(few - exact.values).max() < 0.15 * scale


@pytest.mark.parametrize("use_case", models.TASKS)
@pytest.mark.parametrize("cells", [2**21, 500])
def test_values_add_up_whatever_the_task_and_the_batches(tmp_path, use_case, cells):
    models.build(tmp_path, use_case)
    predictor = Predictor.load(tmp_path)
    contract = predictor.contract
    rows = contract.encode(contract.read(models.raw_rows(5, seed=4)))
    y = predictor.run(rows).astype(np.float64)
    column = None if use_case == "houses" else y.argmax(axis=1)
    expected = y if column is None else y[np.arange(5), column]
    base, values = explain(predictor.run, rows, predictor.background, column, cells=cells)
    assert values.shape == (5, len(contract.features))
    assert base + values.sum(axis=1) == pytest.approx(expected, rel=1e-6)


def test_batches_do_not_change_the_values_and_bound_the_calls():
    sizes = []

    def run(x):
        sizes.append(x.size)
        return np.prod(x, axis=1)

    rows, background = _background(1, 8), _background(40, 8)
    whole = explain(run, rows, background)
    assert len(sizes) == 1  # a call a row
    sizes.clear()
    parts = explain(run, rows, background, cells=400)
    assert parts.values == pytest.approx(whole.values, rel=1e-9)
    assert max(sizes) <= 400


def test_no_prediction_is_made_where_row_and_background_agree():
    calls = []

    def run(x):
        calls.append(len(x))
        return np.nansum(x, axis=1)

    row = np.float32([[1, np.nan, 3]])
    _, values = explain(run, row, np.float32([[1, np.nan, 3], [1, np.nan, 5]]), rounds=1)
    assert calls == [4]  # two starts, and in and out with the one value that differs
    assert values.tolist() == [[0, 0, -1]]


def test_the_same_row_has_the_same_explanation():
    rows, background = _background(2, 6), _background(5, 6)

    def run(x):
        return np.tanh(x.sum(axis=1))

    assert (explain(run, rows, background).values == explain(run, rows, background).values).all()


def test_an_empty_background_is_refused():
    with pytest.raises(ValueError, match="background"):
        explain(lambda x: x[:, 0], np.zeros((1, 2), np.float32), np.zeros((0, 2), np.float32))
