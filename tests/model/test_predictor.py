"""A loaded model: it predicts by its contract, and refuses rows and files that don't fit."""

import itertools
import json

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_lab.contract import CONTRACT_FILE, MODEL_FILE, Contract
from mlops_lab.errors import ContractError, ModelError
from mlops_lab.model.onnx_graph import ROWS_A_RUN
from mlops_lab.model.predictor import Predictor
from tests.support import models


@pytest.mark.parametrize("use_case", models.TASKS)
def test_predictions_follow_the_task(tmp_path, use_case):
    contract = models.build(tmp_path, use_case)
    predictor = Predictor.load(tmp_path)
    predictor.check_example()
    rows = models.raw_rows(50, seed=1)
    found = predictor.predict(rows)
    session = onnxruntime.InferenceSession(str(tmp_path / MODEL_FILE))
    [y] = session.run(None, {"x": contract.encode(contract.read(rows))})
    if use_case == "houses":
        assert found.values == y.tolist()
        assert found.probabilities is None
    else:
        assert found.probabilities == y.tolist()
    if use_case == "clinic":
        assert found.values == [p >= 0.3 for p in y[:, 1]]
    if use_case == "forest":
        assert found.values == [contract.classes[i] for i in y.argmax(axis=1)]


def test_large_batches_equal_single_rows(tmp_path):
    contract = models.build(tmp_path)
    predictor = Predictor.load(tmp_path)
    few = contract.encode(contract.read(models.raw_rows(7)))
    many = np.tile(few, (ROWS_A_RUN // 7 * 2, 1))
    assert predictor.run(many)[-7:] == pytest.approx(predictor.run(few), rel=1e-6)
    assert len(predictor.run(many)) == len(many)


def test_bad_rows_are_named(tmp_path):
    models.build(tmp_path)
    with pytest.raises(ContractError, match="row 1: area"):
        Predictor.load(tmp_path).predict([models.raw_rows(1)[0], models.raw_rows(1)[0] | {"area": -1}])


def test_an_infinite_prediction_is_an_error(tmp_path):
    models.build(tmp_path)
    models.make_fragile(tmp_path)
    predictor = Predictor.load(tmp_path)
    row = predictor.contract.example
    assert predictor.predict([row])
    with pytest.raises(ModelError, match="no finite number"):
        predictor.predict([row | {"area": 1999}])


def test_background_reads_missing_as_nan(tmp_path):
    contract = models.build(tmp_path)
    background = Predictor.load(tmp_path).background
    assert background.shape == (len(contract.background), len(contract.features))
    assert np.isnan(background).sum() == sum(v is None for row in contract.background for v in row) > 0


def _change(folder, **fields):
    path = folder / CONTRACT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("breakage", "told"),
    [
        (lambda f: (f / MODEL_FILE).unlink(), "model.onnx"),
        (lambda f: (f / CONTRACT_FILE).unlink(), "contract.json"),
        (lambda f: (f / CONTRACT_FILE).write_text("{"), "contract.json"),
        (lambda f: (f / CONTRACT_FILE).write_bytes(b"\xff"), "contract.json"),
        (lambda f: _change(f, format=2), "format"),
        (lambda f: _change(f, surprise=1), "surprise"),
        (lambda f: (f / MODEL_FILE).write_bytes(b"no graph"), "ONNX Runtime"),
        (lambda f: _change(f, features=[]), r"float32 \(n, 0\)"),
        (lambda f: _change(f, task="binary", classes=[]), "classes"),
    ],
)
def test_a_folder_that_holds_no_usable_model(tmp_path, breakage, told):
    models.build(tmp_path)
    breakage(tmp_path)
    with pytest.raises(ModelError, match=told) as error:
        Predictor.load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_example_must_predict(tmp_path):
    contract = models.build(tmp_path, "houses")
    _change(tmp_path, task="multiclass", classes=["a", "b"])
    with pytest.raises(ModelError, match="float32"):
        Predictor.load(tmp_path).check_example()
    features = [f.model_copy(update={"example": -5}) if f.name == "area" else f for f in contract.features]
    contract.model_copy(update={"features": features}).save(tmp_path)
    with pytest.raises(ModelError, match="its own example"):
        Predictor.load(tmp_path).check_example()


_CONTRACT = Contract(
    use_case="any",
    title="Any",
    task="regression",
    target=models.TARGETS["houses"],
    features=[
        f.model_copy(update={"minimum": None, "maximum": None}) if hasattr(f, "minimum") else f
        for f in models.FEATURES
    ],
    missing=["?"],
    metric="rmse",
    greater_is_better=False,
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "flat",
            "house",
            "?",
            "1e39",
            "-1e300",
            "inf",
            "nan",
            "2024-02-30",
            "2024-02-29",
            "0001-01-01",
            "9" * 400,
        ]
    )
    | st.floats(allow_nan=True, allow_infinity=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
_NAMES = st.sampled_from([f.name for f in models.FEATURES]) | st.text(max_size=5)


@given(
    row=st.fixed_dictionaries({f.name: _JSON for f in models.FEATURES})
    | st.dictionaries(_NAMES, _JSON, max_size=8)
)
def test_any_json_row_is_refused_or_encoded_as_finite_or_missing(row):
    try:
        typed = _CONTRACT.read([row])
    except ContractError as error:
        problems = error.problems
    else:
        problems = None
    if problems is not None:
        assert all(set(p) == {"row", "field", "rule", "message"} for p in problems)
        return
    matrix = _CONTRACT.encode(typed)
    assert matrix.shape == (1, len(_CONTRACT.features))
    assert matrix.dtype == np.float32
    assert not np.isinf(matrix).any()


def test_valid_rows_are_kept_and_the_others_left_out():
    good = models.raw_rows(150)
    bad = [{}, {"area": 1}, good[0] | {"area": "wide"}]
    mixed = [row for pair in zip(good, itertools.cycle(bad), strict=False) for row in pair]
    assert _CONTRACT.read_valid(mixed) == _CONTRACT.read(good)


@given(
    row=st.fixed_dictionaries(
        {
            "area": st.none() | st.floats(-3.4e38, 3.4e38) | st.sampled_from(["12.5", " 7 ", "?"]),
            "rooms": st.integers(-1000, 1000) | st.integers(0, 9).map(lambda n: f"{n}.0"),
            "kind": st.sampled_from(["flat", "house", "", None]),
            "state": st.none() | st.text(max_size=30) | st.integers(0, 10**9),
            "garden": st.none() | st.booleans() | st.sampled_from(["yes", "No", 0, 1, 1.0]),
            "sold": st.none() | st.dates().map(lambda d: d.isoformat()),
        }
    )
)
def test_rows_that_keep_the_contract_are_accepted_and_reading_again_changes_nothing(row):
    typed = _CONTRACT.read([row])
    again = _CONTRACT.read(typed)
    assert again == typed
    assert np.array_equal(_CONTRACT.encode(again), _CONTRACT.encode(typed), equal_nan=True)
