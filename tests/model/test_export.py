"""The graph equals the pipeline; a graph that differs is refused."""

import lightgbm
import numpy as np
import onnx
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlops_lab.candidates import Candidate, gradient_boosting, ridge
from mlops_lab.errors import ModelError
from mlops_lab.metrics import RMSE
from mlops_lab.model import export, onnx_graph
from mlops_lab.model.onnx_graph import OnnxGraph
from mlops_lab.model.train import train
from tests.support.cases import small_case

RANDOM = np.random.default_rng(0)


def test_the_graph_has_one_input_and_one_output():
    x = RANDOM.normal(size=(200, 3)).astype(np.float32)
    fitted = export.Fitted(make_pipeline(lightgbm.LGBMClassifier(n_estimators=5, verbose=-1)).fit(x, x[:, 0] > 0),
                           class_weights=np.eye(2))  # fmt: skip
    model = fitted.graph(3)
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["x"]
    assert [o.name for o in model.graph.output] == ["y"]
    assert {o.domain: o.version for o in model.opset_import} == {"": 18, "ai.onnx.ml": 3}
    assert not [
        node for node in model.graph.node if node.op_type in ("ZipMap", "ArgMax")
    ]  # the label's branch is gone


def test_a_split_between_neighbouring_floats_sends_each_row_its_way():
    """Rounded to the nearest float32, such a split would also include the value above it."""
    low = RANDOM.uniform(1, 8, 100).astype(np.float32)
    high = np.nextafter(low, np.float32(np.inf))
    x = np.sort(np.concatenate([low, high]))[:, None]
    y = 100.0 * (np.searchsorted(np.unique(x), x[:, 0]) % 2)  # neighbours differ as much as they can
    model = lightgbm.LGBMRegressor(
        n_estimators=10,
        num_leaves=200,
        min_child_samples=1,
        min_data_in_bin=1,
        max_bin=400,
        learning_rate=0.5,
        verbose=-1,
    )
    fitted = export.Fitted(make_pipeline(model.fit(x, y)))
    output = export.check(fitted.graph(1), fitted, x, y, RMSE)
    assert np.abs(output - fitted.output(x)).max() < 1e-2


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_trees_get_the_target_encodings_that_the_graph_has(task, frames, monkeypatch):
    """Else a split between an encoding and its float32 sends all rows of a category the other way."""
    checked, check = [], export.check

    def spy(model, fitted, matrix, *others):
        checked.append((fitted, matrix))
        return check(model, fitted, matrix, *others)

    monkeypatch.setattr(export, "check", spy)
    train(small_case(task), gradient_boosting({"n_estimators": 3}, encoding="target"), frames[task])
    for fitted, matrix in checked:
        known = matrix.copy()
        known[0] = 90  # a code that no training row has
        encoded = fitted.pipeline[:-1].transform(known)
        assert np.array_equal(encoded, encoded.astype(np.float32), equal_nan=True)


def test_a_graph_that_differs_is_refused():
    x = RANDOM.normal(size=(500, 2)).astype(np.float32)
    y = x[:, 0] * 3 + 20
    right, wrong = (export.Fitted(make_pipeline(LinearRegression().fit(x, y + shift))) for shift in (0, 0.01))
    export.check(right.graph(2), right, x, y, RMSE)
    with pytest.raises(
        ModelError, match=r"refused: ONNX differs from the pipeline on 100.00% of 500 holdout rows"
    ):
        export.check(wrong.graph(2), right, x, y, RMSE)


def test_a_few_rows_that_move_the_metric_are_refused():
    x = np.arange(5000, dtype=np.float32)[:, None]
    y = x[:, 0] / 1000 + RANDOM.normal(size=5000)
    model = export.Fitted(make_pipeline(LinearRegression().fit(x, y))).graph(1)
    graph = OnnxGraph(model.SerializeToString())

    class Bent:
        def predict(self, x):
            return graph.run(x) + 30.0 * (x[:, 0] >= 4998)

    with pytest.raises(ModelError, match=r"refused: rmse is .* by ONNX but .* by the pipeline"):
        export.check(model, export.Fitted(Bent()), x, y, RMSE)


def test_a_perfect_model_is_not_refused_for_its_rounding():
    x = RANDOM.normal(size=(500, 2)).astype(np.float32)
    y = x[:, 0] * 3.0 + 20
    fitted = export.Fitted(make_pipeline(LinearRegression().fit(x.astype(np.float64), y)))
    export.check(fitted.graph(2), fitted, x, y, RMSE)


def test_a_step_that_does_not_convert_is_refused_in_one_line(frames):
    candidate = Candidate("logs", lambda contract, params, seed: make_pipeline(
        FunctionTransformer(np.nan_to_num), FunctionTransformer(lambda x: x + 1), LinearRegression()))  # fmt: skip
    with pytest.raises(ModelError, match="refused: the pipeline doesn't convert to ONNX") as error:
        train(small_case("regression"), candidate, frames["regression"])
    assert "\n" not in str(error.value)


def test_a_graph_that_the_service_has_no_memory_for_is_refused(frames, monkeypatch):
    monkeypatch.setattr(onnx_graph, "MAX_GRAPH_BYTES", 500)
    with pytest.raises(ModelError, match=r"the service has memory for one .* train a smaller model"):
        train(small_case("regression"), ridge((1.0,)), frames["regression"])


def test_a_conversion_that_is_wrong_without_an_error_is_refused(frames):
    """Forests of scikit-learn take missing numbers; their converted graph sends them another way."""
    candidate = Candidate(
        "forest", lambda contract, params, seed: make_pipeline(RandomForestRegressor(10, random_state=seed))
    )
    with pytest.raises(ModelError, match="refused: ONNX differs from the pipeline"):
        train(small_case("regression"), candidate, frames["regression"])
