"""The test rows in detail: slices, intervals and calibration are what a person computes."""

import numpy as np
import pytest

from mlops_lab.candidates import linear_regression
from mlops_lab.contract import Contract, PromotionPolicy
from mlops_lab.metrics import METRICS, OF_TASK, RMSE_LOG
from mlops_lab.model.bootstrap import resample
from mlops_lab.model.train import train
from tests.support.cases import clean_rows, small_case, small_rows


@pytest.fixture(scope="module")
def sliced():
    """A regression with slices by district and heating: (its model, its test rows, the graph's output)."""
    policy = PromotionPolicy(slices={"district": 0.1, "heating": 0.1}, slice_rows=40)
    frame = clean_rows(small_case("regression"), small_rows(2000))
    made = train(small_case("regression", promotion=policy), linear_regression(), frame)
    return made, frame[frame["split"] == "test"].reset_index(drop=True), made.holdout[2]


def test_a_slice_has_the_score_and_the_interval_of_its_rows(sliced):
    made, test, output = sliced
    found = made.contract.evaluation
    assert (found.rows, found.groups) == (len(test), test["group_hash"].nunique())
    truth = test["rent"].to_numpy(dtype=float)
    by_heating = {part.value: part for part in found.slices if part.by == "heating"}
    assert set(by_heating) == {"gas", "wood", "none at all", "missing"}
    assert sum(part.rows for part in by_heating.values()) == len(test)
    for value, part in by_heating.items():
        column = test["heating"]
        rows = np.flatnonzero(column.isna() if value == "missing" else column == value)
        assert part.rows == len(rows)
        assert part.score == pytest.approx(RMSE_LOG(truth[rows], output[rows]))
        if part.rows < 40:
            assert (part.low, part.high) == (None, None)
            continue
        scores = resample(
            test["group_hash"].to_numpy()[rows],
            lambda picked, rows=rows: RMSE_LOG(truth[rows[picked]], output[rows[picked]]),
        )
        assert (part.low, part.high) == pytest.approx(tuple(np.percentile(scores, [2.5, 97.5])))
    assert {part.rows < 40 for part in by_heating.values()} == {True, False}


def test_rare_values_share_a_slice_and_very_few_rows_have_no_score(sliced):
    found = [part for part in sliced[0].contract.evaluation.slices if part.by == "district"]
    assert len(found) == 20
    assert found[-1].value == "(others)"
    assert sum(part.rows for part in found) == len(sliced[1])
    assert {part.score is None for part in found if part.rows < 10} <= {True}
    assert {part.score is None for part in found if part.rows >= 10} == {False}


def test_a_regression_has_bands_of_its_prediction(sliced):
    made, test, output = sliced
    bands = [part for part in made.contract.evaluation.slices if part.by == "predicted rent"]
    assert len(bands) == 5
    assert sum(part.rows for part in bands) == len(test)
    assert max(part.rows for part in bands) - min(part.rows for part in bands) <= 2
    truth, edge = test["rent"].to_numpy(dtype=float), np.quantile(output, 0.2)
    assert bands[0].value.startswith("up to ")
    assert bands[0].score == pytest.approx(RMSE_LOG(truth[output <= edge], output[output <= edge]))


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_each_metric_of_the_test_rows_has_an_interval_around_it(task, trained):
    contract = trained[task].contract
    intervals = contract.evaluation.intervals
    assert set(intervals) == {metric.name for metric in OF_TASK[task]}
    for name, (low, high) in intervals.items():
        # 200 resamples of 240 rows: the score itself is well inside.
        assert low < contract.metrics["test"][name] < high


def test_a_class_has_recall_and_precision(trained):
    made = trained["multiclass"]
    _, truth, output = made.holdout
    answer, classes = output.argmax(axis=1), made.contract.classes
    found = {(part.by, part.value): part for part in made.contract.evaluation.slices}
    for number, name in enumerate(classes):
        of_class, of_answer = truth == number, answer == number
        for by, rows, other in (("kind", of_class, of_answer), ("predicted kind", of_answer, of_class)):
            if not rows.any():
                assert (by, name) not in found
            elif rows.sum() >= 10:
                part = found[by, name]
                assert part.metric == ("recall" if by == "kind" else "precision")
                assert part.score == pytest.approx((rows & other).sum() / rows.sum())
    assert len(found) >= 5


def test_the_calibration_error_is_the_mean_distance_over_tenths(trained):
    made = trained["binary"]
    _, truth, output = made.holdout
    order = np.argsort(output[:, 1], kind="stable")
    tenths = np.array_split(order, 10)
    by_hand = np.mean([abs(output[t, 1].mean() - truth[t].mean()) for t in tenths])
    assert made.contract.evaluation.calibration_error == pytest.approx(by_hand, abs=0.02)
    assert made.contract.evaluation.calibration == made.params["calibration"]


def test_a_contract_of_an_earlier_release_has_no_evaluation(trained):
    stored = trained["regression"].contract.model_dump(mode="json")
    del stored["evaluation"]
    assert Contract.model_validate(stored).evaluation is None
    assert METRICS[Contract.model_validate(stored).metric].name == "rmse_log"
