"""Champion against challenger: the outcome, its reason, and its evidence."""

from dataclasses import replace

import numpy as np
import pytest

from mlops_lab.candidates import linear_regression
from mlops_lab.metrics import F1
from mlops_lab.model.compare import compare
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.train import train
from mlops_lab.use_case import PromotionPolicy, RetrainPolicy
from tests.support.cases import FEATURES, small_case

POLICY = RetrainPolicy(min_holdout=100)
EQUAL_WINS = PromotionPolicy(margin=0, sure=0)


def predictor(trained) -> Predictor:
    return Predictor(trained.contract, trained.model.SerializeToString())


@pytest.fixture
def holdouts(frames):
    def test_rows(frame):
        test = frame[frame["split"] == "test"]
        numbers = [str(number) for number in range(len(test))]
        return test.assign(row_hash=numbers, group_hash=numbers)

    return {task: test_rows(frame) for task, frame in frames.items()}


@pytest.fixture(scope="module")
def linear(frames):
    return predictor(
        train(small_case("regression"), linear_regression(log_target=True), frames["regression"])
    )


def test_a_first_champion_without_test_rows_is_refused_and_the_reason_is_plain(trained, holdouts):
    found = compare(
        small_case("regression"), predictor(trained["regression"]), None, holdouts["regression"].head(0)
    )
    assert not found.promoted
    assert found.reason == "there are no test rows yet, so its error is unknown; it takes more data"
    assert (found.challenger_score, found.holdout_rows, found.interval) == (None, 0, None)


def test_a_first_champion_is_promoted_where_its_metric_is_not_defined(trained, holdouts):
    holdout = holdouts["binary"]
    one_class = holdout[~holdout["let"].astype(bool)]
    found = compare(small_case("binary"), predictor(trained["binary"]), None, one_class)
    assert found.promoted
    assert found.reason == f"first champion, roc_auc isn't defined on {len(one_class)} test rows"
    assert found.challenger_score is None


def test_nothing_is_replaced_where_the_metric_is_not_defined(trained, holdouts):
    holdout, model = holdouts["binary"], predictor(trained["binary"])
    one_class = holdout[~holdout["let"].astype(bool)]
    found = compare(small_case("binary", retrain=POLICY), model, model, one_class)
    assert not found.promoted
    assert "roc_auc isn't defined on" in found.reason


def test_the_better_model_wins_with_an_interval_of_its_gain(trained, linear, holdouts):
    holdout, trees = holdouts["regression"], predictor(trained["regression"])
    use_case = small_case("regression", retrain=POLICY)
    found = compare(use_case, linear, trees, holdout)
    assert found.promoted
    assert found.reason.startswith("better by the margin of 1% and sure: rmse_log ")
    assert 0 < found.interval[0] < found.champion_score - found.challenger_score < found.interval[1]
    back = compare(use_case, trees, linear, holdout)
    assert not back.promoted
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    assert back.holdout_digest == found.holdout_digest
    equal = compare(use_case, trees, trees, holdout)
    assert not equal.promoted
    assert equal.reason.startswith("not better: rmse_log ")
    assert equal.reason.endswith(" test rows, the same error, better in 0% of the resamples")
    assert compare(replace(use_case, promotion=EQUAL_WINS), trees, trees, holdout).promoted
    assert "only 99 test rows; 100 are needed" in compare(use_case, linear, trees, holdout.head(99)).reason


def test_a_classifier_is_judged_by_the_threshold_that_it_is_served_with(trained, holdouts):
    use_case, contract = small_case("binary", metric=F1, retrain=POLICY), trained["binary"].contract
    model = trained["binary"].model.SerializeToString()
    served, strict = (
        Predictor(contract.model_copy(update={"threshold": threshold}), model)
        for threshold in (contract.threshold, 0.9)
    )
    found = compare(use_case, served, strict, holdouts["binary"])
    assert found.challenger_score == pytest.approx(contract.metrics["test"]["f1"])
    assert found.champion_score < 0.5 * found.challenger_score
    assert found.interval[0] > 0
    back = compare(use_case, strict, served, holdouts["binary"])
    assert (back.challenger_score, back.champion_score) == (found.champion_score, found.challenger_score)


def test_rows_of_one_group_count_together(trained, linear, holdouts):
    """Each row ten times: as groups of ten, they carry no more information than the rows themselves."""
    holdout, trees = holdouts["regression"], predictor(trained["regression"])
    ten = holdout.loc[np.repeat(holdout.index, 10)]
    use_case = small_case("regression", retrain=POLICY)

    def width(frame):
        low, high = compare(use_case, linear, trees, frame).interval
        return high - low

    assert width(ten) == pytest.approx(width(holdout), rel=0.01)
    apart = ten.assign(group_hash=[str(number) for number in range(len(ten))])
    assert width(apart) < 0.5 * width(ten)


def test_a_challenger_that_fails_the_gate_is_refused(trained, holdouts):
    """Ranks alone don't count: probabilities that are too large have the same AUC and a worse Brier score."""
    model = trained["binary"]

    class TooSure(Predictor):
        def run(self, matrix):
            positive = np.sqrt(super().run(matrix)[:, 1])
            return np.column_stack([1 - positive, positive])

    sure = TooSure(model.contract, model.model.SerializeToString())
    use_case = small_case("binary", retrain=POLICY, promotion=EQUAL_WINS)
    found = compare(use_case, sure, predictor(model), holdouts["binary"])
    assert not found.promoted
    assert found.reason.startswith("its brier ")
    assert found.champion_score == pytest.approx(found.challenger_score)


def test_a_champion_that_cannot_be_scored_any_more_is_replaced_with_that_reason(frames, trained, holdouts):
    """However good it may be, nobody can say how good it is on rows without its columns."""
    holdout, trees = holdouts["regression"], predictor(trained["regression"])
    fewer = small_case("regression", features=FEATURES[:-2], retrain=POLICY)
    challenger = predictor(train(fewer, linear_regression(log_target=True), frames["regression"]))
    found = compare(fewer, challenger, trees, holdout)
    assert found.promoted
    assert found.reason.startswith(
        "the champion can't be scored any more: small_regression doesn't declare its columns district, heating; "
        "therefore no comparison: first champion, rmse_log "
    )
    assert found.rows is None
    refused = compare(fewer, challenger, trees, holdout.head(0))
    assert (refused.promoted, refused.reason.endswith("it takes more data")) == (False, True)

    kinds = trained["multiclass"].contract
    fewer_kinds = Predictor(
        kinds.model_copy(update={"classes": kinds.classes[::-1]}),
        trained["multiclass"].model.SerializeToString(),
    )
    case = small_case("multiclass", retrain=POLICY)
    other = compare(case, predictor(trained["multiclass"]), fewer_kinds, holdouts["multiclass"])
    assert other.promoted
    assert other.reason.startswith("the champion can't be scored any more: it predicts other classes")
