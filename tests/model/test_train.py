"""Training gives a model with a contract that fits it."""

import mlflow.onnx
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import PowerTransformer

from mlops_lab.candidates import (
    gradient_boosting,
    linear_regression,
    logistic_regression,
    random_forest,
    ridge,
)
from mlops_lab.contract import Contract, RetrainPolicy
from mlops_lab.data.rows import rows
from mlops_lab.errors import ModelError, UseCaseError
from mlops_lab.features import Category, Number
from mlops_lab.metrics import R2, score
from mlops_lab.model import export
from mlops_lab.model.fit_contract import fit_contract
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.train import train
from mlops_lab.threshold import Threshold
from tests.support.cases import small_case


def test_codes_follow_the_training_rows_only():
    use_case = small_case(
        "regression", features=[Category("district", allow_unknown=True, min_count=3, max_categories=2)]
    )
    values = ["b"] * 5 + ["a"] * 5 + ["c"] * 9 + ["rare"] * 2 + [None] * 4
    contract = fit_contract(use_case, pd.DataFrame({"district": values, "rent": 1.0}))
    assert contract.features[0].vocabulary == ["c", "a"]  # most frequent first, equals by name, two at most
    typed = [{"district": value} for value in ("c", "a", "b", "rare", "new", None)]
    assert contract.encode(typed)[:, 0].tolist() == [2, 3, 1, 1, 1, 0]
    assert contract.features[0].example == "c"


def test_codes_of_grouped_values():
    groups = {"250": "sugar", "428": "heart", "427": "heart"}
    use_case = small_case(
        "regression", features=[Category("diag", allow_unknown=True, min_count=2, mapping=groups)]
    )
    values = ["250.1", "250.2", "428", "427", "427.5", "999", "999"]
    contract = fit_contract(use_case, pd.DataFrame({"diag": values, "rent": 1.0}))
    assert contract.features[0].vocabulary == ["heart", "sugar"]


def test_a_closed_category_allows_what_the_training_rows_hold():
    use_case = small_case("regression", features=[Category("heating", min_count=3)])
    training = pd.DataFrame({"heating": ["gas"] * 5 + ["wood", None], "rent": 1.0})
    contract = fit_contract(use_case, training)
    assert contract.features[0].allowed == ["gas", "wood"]
    assert contract.features[0].vocabulary == ["gas"]


def test_the_values_of_an_example_fit_together():
    raw = [{"state": "A", "city": "a1", "size": 1.0}] * 40 + [{"state": "B", "city": "b1", "size": 9.0}] * 100
    raw += [{"state": "A", "city": f"a{n}", "size": 5.0} for n in range(2, 80)]
    raw += [{"state": "A", "city": "a1", "size": 2.0}] * 60
    features = [Category("state", allow_unknown=True), Category("city", allow_unknown=True), Number("size")]
    contract = fit_contract(small_case("regression", features=features), pd.DataFrame(raw).assign(rent=1.0))
    # The most frequent state is A, the most frequent city lies there although B's only city is met as often.
    assert contract.example == {"state": "A", "city": "a1", "size": 2.0}


def test_a_declared_example_stays_and_one_that_breaks_its_rule_is_refused():
    rows_ = pd.DataFrame([{"area": 5.0, "rent": 1.0}] * 30)
    declared = small_case("regression", features=[Number("area", maximum=9, example=7)])
    assert fit_contract(declared, rows_).example == {"area": 7}
    with pytest.raises(
        ModelError, match="the example breaks the declared features: row 0: area must be at most 9"
    ):
        fit_contract(small_case("regression", features=[Number("area", maximum=9, example=70)]), rows_)


def test_a_contract_carries_the_retrain_policy_and_loads_without_one():
    policy = RetrainPolicy(psi=0.1, min_drift_rows=50)
    use_case = small_case("regression", features=[Number("area")], retrain=policy)
    contract = fit_contract(use_case, pd.DataFrame([{"area": 5.0, "rent": 1.0}] * 30))
    stored = contract.model_dump(mode="json")
    assert Contract.model_validate(stored).retrain == policy
    # A contract of an earlier release.
    del stored["retrain"]
    assert Contract.model_validate(stored).retrain == RetrainPolicy()


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_the_contract_describes_the_model(task, frames, trained):
    use_case, frame = small_case(task), frames[task]
    contract = Contract.model_validate_json(trained[task].contract.model_dump_json())
    contract.read([contract.example])
    assert set(contract.metrics) == {"train", "validation", "test"}
    assert set(contract.baseline) == {"validation", "test"}
    assert set(contract.reference) == {f.name for f in use_case.features}
    assert len(contract.background) == 50
    assert len(contract.background[0]) == len(use_case.features)
    assert (contract.threshold is not None) == (task == "binary")
    assert contract.classes == use_case.classes
    # The scores are those of the served model: raw rows, through the contract and the graph.
    test = frame[frame["split"] == "test"]
    truth = contract.encode_target(test[use_case.target.name])
    output = Predictor(contract, trained[task].model.SerializeToString()).run(contract.encode(rows(test)))
    assert score(task, truth, output, threshold=contract.threshold) == pytest.approx(contract.metrics["test"])


def test_the_grid_is_decided_on_validation(frames):
    candidate, messages = ridge((1e-3, 1.0, 1e6)), []
    trained = train(small_case("regression"), candidate, frames["regression"], progress=messages.append)
    assert [message for message in messages if message.startswith("2/3 alpha 1.0: rmse_log ")]
    scores = [trial["rmse_log"] for trial in trained.trials]
    assert [trial["alpha"] for trial in trained.trials] == [1e-3, 1.0, 1e6]
    assert trained.params["alpha"] == trained.trials[int(np.argmin(scores))]["alpha"]
    assert trained.metrics["validation"]["rmse_log"] == pytest.approx(min(scores), rel=1e-4)
    assert scores[2] > min(scores)


def test_points_of_a_grid_share_their_preprocessing(frames, monkeypatch):
    fitted = []
    transform = PowerTransformer.fit_transform
    monkeypatch.setattr(
        PowerTransformer,
        "fit_transform",
        lambda self, x, y=None: (fitted.append(x), transform(self, x, y))[1],
    )
    use_case, alphas = small_case("regression"), (0.1, 10.0, 1000.0)
    together = train(use_case, ridge(alphas, log_target=True), frames["regression"])
    # Once for the grid, and once more with the validation rows.
    assert len(fitted) == 2
    alone = [
        train(use_case, ridge([alpha], log_target=True), frames["regression"]).trials[0] for alpha in alphas
    ]
    assert [one["rmse_log"] for one in together.trials] == [one["rmse_log"] for one in alone]


def test_a_use_case_chooses_the_rule_of_its_threshold(frames, trained):
    def made(rule):
        candidate = gradient_boosting({"n_estimators": 20})
        return train(small_case("binary", threshold=rule), candidate, frames["binary"])

    fixed, careful = made(Threshold(fixed=0.5)), made(Threshold(cost=1.5))
    assert fixed.contract.threshold == 0.5
    assert (fixed.params["threshold"], careful.params["threshold"]) == (
        "fixed at 0.5",
        "least cost, a miss costs 1.5 false alarms",
    )
    # A miss that costs little is made more often, on test rows, too.
    found, default = careful.metrics["test"], trained["binary"].metrics["test"]
    assert careful.contract.threshold > trained["binary"].contract.threshold
    assert found["recall"] < default["recall"]
    assert found["precision"] > default["precision"]
    predictor = Predictor(careful.contract, careful.model.SerializeToString())
    matrix = careful.holdout[0]
    expected = (predictor.run(matrix)[:, 1] >= careful.contract.threshold).tolist()
    assert predictor.predict_encoded(matrix).values == expected
    with pytest.raises(UseCaseError, match="a threshold needs a Boolean target"):
        small_case("regression", threshold=Threshold(fixed=0.5))


def test_the_same_seed_gives_the_same_model(frames):
    one, two = (
        train(small_case("regression"), gradient_boosting({"n_estimators": 10}), frames["regression"], seed=3)
        for _ in "12"
    )
    assert one.contract == two.contract
    assert np.array_equal(one.holdout[2], two.holdout[2])


def test_a_saved_model_serves(tmp_path, trained):
    found, folder = trained["multiclass"], tmp_path / "model"
    contract = found.contract.model_copy(update={"description": "with lineage"})
    export.save(found.model, contract, folder)
    assert {"model.onnx", "contract.json", "MLmodel"} <= {path.name for path in folder.iterdir()}
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pickle", ".joblib")]
    predictor = Predictor.load(folder)
    predictor.check_example()
    assert predictor.contract.description == "with lineage"
    matrix, _, output = found.holdout
    assert np.array_equal(predictor.run(matrix), output)
    loaded = mlflow.pyfunc.load_model(str(folder))  # what `mlflow models serve` does
    assert np.allclose(loaded.predict({"x": matrix})["y"], output, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "pictures"),
    [
        ("regression", {"predicted.png", "errors.png", "shap_summary.png"}),
        ("binary", {"curves.png", "calibration.png", "confusion.png", "shap_summary.png"}),
        ("multiclass", {"calibration.png", "confusion.png", "shap_summary.png"}),
    ],
)
def test_pictures(task, pictures, trained, tmp_path):
    assert {path.name for path in trained[task].plot(tmp_path)} == pictures
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_without_test_rows_there_is_a_model_and_no_picture(frames, tmp_path):
    frame = frames["regression"]
    found = train(small_case("regression"), linear_regression(), frame[frame["split"] != "test"])
    assert set(found.metrics) == {"train", "validation"}
    assert found.plot(tmp_path) == []


def test_metrics_that_few_test_rows_do_not_define_are_left_out_of_the_contract(frames):
    """R² of one row and the AUC of one class have no value, and JSON has no NaN: the contract would not load."""
    frame = frames["regression"]
    few = pd.concat([frame[frame["split"] != "test"], frame[frame["split"] == "test"].head(1)])
    contract = train(small_case("regression"), linear_regression(), few).contract
    assert {"rmse_log", "mae"} <= contract.metrics["test"].keys()
    assert not {"r2", "r2_log"} & contract.metrics["test"].keys()
    assert Contract.model_validate_json(contract.model_dump_json()) == contract

    frame = frames["binary"]
    one_class = frame[(frame["split"] != "test") | ~frame["let"].astype(bool)]
    contract = train(small_case("binary"), logistic_regression((1.0,)), one_class).contract
    assert "brier" in contract.metrics["test"]
    assert "roc_auc" not in contract.metrics["test"]
    assert Contract.model_validate_json(contract.model_dump_json()) == contract


def test_validation_rows_that_do_not_define_the_metric_are_too_few(frames):
    frame = frames["binary"]
    one_class = frame[(frame["split"] != "validation") | ~frame["let"].astype(bool)]
    with pytest.raises(
        ModelError, match=r"roc_auc isn't defined on the \d+ validation rows; it takes more data"
    ):
        train(small_case("binary"), logistic_regression((1.0,)), one_class)
    # R² of a single row is minus infinity, which JSON doesn't have either.
    frame = frames["regression"]
    single = pd.concat([frame[frame["split"] != "validation"], frame[frame["split"] == "validation"].head(1)])
    with pytest.raises(ModelError, match="r2 isn't defined on the 1 validation rows"):
        train(small_case("regression", metric=R2), linear_regression(), single)


def test_rows_that_do_not_suffice_for_training_are_refused(frames):
    frame = frames["binary"]
    candidate = logistic_regression()
    with pytest.raises(ModelError, match="no validation rows yet"):
        train(small_case("binary"), candidate, frame[frame["split"] == "train"])
    with pytest.raises(ModelError, match="no train rows yet"):
        train(small_case("binary"), candidate, frame.head(0))
    with pytest.raises(ModelError, match="all training rows have the same let"):
        train(small_case("binary"), candidate, frame[~frame["let"].astype(bool)])


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (random_forest({"depth": 3}), r"it can't learn with depth 3: TypeError: .*'depth'"),
        (ridge(("much",)), r"it can't learn with alpha much: InvalidParameterError: .*'alpha'"),
    ],
)
def test_parameters_that_a_library_refuses_refuse_the_candidate(frames, candidate, said):
    with pytest.raises(ModelError, match=said):
        train(small_case("regression"), candidate, frames["regression"])
