"""Every factory trains and converts to an equal ONNX graph, on each of its tasks."""

import numpy as np
import pytest

from mlops_lab.candidates import (
    extra_trees,
    gradient_boosting,
    linear_regression,
    logistic_regression,
    over_sampled,
    random_forest,
    ridge,
    select_k_best,
)
from mlops_lab.data.split import LEARNT
from mlops_lab.errors import ModelError
from mlops_lab.features import Boolean, Category, Number
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.train import train
from tests.support.cases import clean_rows, small_case, small_rows

FEW = {"n_estimators": 20}
OF_TASK = {
    "regression": [
        linear_regression(),
        linear_regression(log_target=True),
        ridge(),
        ridge(log_target=True),
        random_forest(FEW),
        random_forest(FEW, log_target=True, encoding="target"),
        extra_trees(FEW, encoding="target"),
        gradient_boosting({"n_estimators": 60}),
        gradient_boosting({"n_estimators": 60}, log_target=True, encoding="target"),
    ],
    "binary": [
        logistic_regression(),
        select_k_best(5),
        select_k_best(1000),
        over_sampled(logistic_regression()),
        random_forest(FEW, encoding="target"),
        extra_trees(FEW),
        gradient_boosting({"n_estimators": 30, "num_leaves": 7}),
        over_sampled(gradient_boosting({"n_estimators": 30, "num_leaves": 7}, encoding="target")),
    ],
    "multiclass": [
        logistic_regression(),
        select_k_best(5),
        over_sampled(random_forest(FEW)),
        random_forest(FEW),
        extra_trees(FEW),
        gradient_boosting({"n_estimators": 30}),
    ],
}


@pytest.mark.parametrize(
    ("task", "candidate"), [(task, candidate) for task, found in OF_TASK.items() for candidate in found]
)
def test_it_beats_the_naive_baseline_on_test_rows(task, candidate, frames):
    use_case = small_case(task, [candidate])
    trained = train(use_case, candidate, frames[task])
    name, sign = use_case.metric.name, use_case.metric.sign
    assert sign * trained.metrics["test"][name] > sign * trained.contract.baseline["test"][name]
    assert trained.model.ByteSize() < 20e6
    output = trained.holdout[2]
    if task != "regression":
        assert output.shape[1] == len(use_case.classes)
        assert output.sum(axis=1) == pytest.approx(1, abs=1e-5)
    if task == "multiclass":  # a class that no training row has stays possible to name and is never named
        assert (output[:, use_case.classes.index("castle")] == 0).all()


def test_over_sampling_keeps_probabilities_those_of_the_training_rows():
    raw = [row | {"let": row["let"] and number % 3 == 0} for number, row in enumerate(small_rows(4000))]
    frame = clean_rows(small_case("binary"), raw)
    prior = frame["let"].astype(float).mean()
    assert prior < 0.2
    plain, sampled = (
        train(small_case("binary"), candidate, frame)
        for candidate in (logistic_regression((1.0,)), over_sampled(logistic_regression((1.0,))))
    )
    assert sampled.candidate == "over_sampled_logistic_regression"
    assert sampled.holdout[2][:, 1].mean() == pytest.approx(
        prior, abs=0.03
    )  # uncorrected, it would be near 0.5
    assert sampled.metrics["test"]["brier"] == pytest.approx(plain.metrics["test"]["brier"], abs=0.01)
    assert "Sampler" not in str(sampled.model.graph)


@pytest.mark.parametrize(
    "candidate", [ridge((1.0,)), gradient_boosting(FEW, encoding="target"), random_forest(FEW)]
)
@pytest.mark.parametrize(
    "features",
    [
        [Number("area")],
        [Category("district", allow_unknown=True)],
        [
            Number("area"),
            Number("empty"),
            Number("same"),
            Boolean("never"),
            Category("nothing", allow_unknown=True),
        ],
    ],
    ids=["numbers only", "categories only", "empty and constant columns"],
)
def test_odd_columns_train_and_serve(candidate, features):
    raw = [row | {"empty": None, "same": 7, "never": False, "nothing": None} for row in small_rows(600)]
    use_case = small_case("regression", [candidate], features=features)
    trained = train(use_case, candidate, clean_rows(use_case, raw))
    # Rows unlike any training row: a null in a full column, a value in an empty one, and values far out of range.
    rows = [{f.name: value for f in features} for value in (None,)]
    rows += [{f.name: "new" if isinstance(f, Category) else v for f in features} for v in (0, 1)]
    if not isinstance(features[0], Category):
        rows.append(rows[-1] | {"area": 3e38})
    output = _run(trained, rows)
    assert np.isfinite(output).all()


def test_a_log_target_is_clipped_to_the_range_of_the_rows_that_it_learnt_from(frames):
    frame = frames["regression"]
    middle = frame[frame["rent"].between(*frame["rent"].quantile([0.3, 0.7]))]
    trained = train(small_case("regression"), linear_regression(log_target=True), middle)
    seen = middle.loc[middle["split"].isin(LEARNT), "rent"]
    low = {"area": 0, "floor": 0, "balcony": False, "heating": "wood", "district": "d0"}
    high = {"area": 1e30, "floor": 9, "balcony": True, "heating": "gas", "district": "d6"}
    ends = [trained.contract.example | end for end in (low, high)]
    output = _run(trained, ends)
    assert output == pytest.approx([seen.min(), seen.max()], rel=1e-3)


@pytest.mark.parametrize(
    ("task", "candidate", "message"),
    [
        ("multiclass", gradient_boosting(encoding="target"), "use encoding='ordinal'"),
        ("regression", random_forest(encoding="hash"), "must be ordinal or target"),
    ],
)
def test_an_encoding_that_does_not_fit_is_refused(task, candidate, message, frames):
    with pytest.raises(ModelError, match=message):
        train(small_case(task), candidate, frames[task])


def test_a_negative_log_target_is_refused(frames):
    frame = frames["regression"].assign(rent=lambda f: f["rent"] - 1000)
    with pytest.raises(ModelError, match="never negative"):
        train(small_case("regression"), ridge(log_target=True), frame)


def _run(trained, rows):
    predictor = Predictor(trained.contract, trained.model.SerializeToString())
    return predictor.run(trained.contract.encode(trained.contract.read(rows)))
