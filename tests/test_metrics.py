"""Every metric against scikit-learn's."""

import re

import numpy as np
import pytest
from sklearn import metrics as reference

from mlops_lab import formatting
from mlops_lab.errors import UseCaseError
from mlops_lab.form import about_metric
from mlops_lab.metrics import METRICS, Metric, greater_is_better, score
from mlops_lab.threshold import Threshold

RANDOM = np.random.default_rng(0)


def test_regression():
    truth, output = RANDOM.lognormal(3, 1, 500), RANDOM.lognormal(3, 1, 500)
    found = score("regression", truth, output)
    expected = {
        "rmse": reference.root_mean_squared_error(truth, output),
        "mae": reference.mean_absolute_error(truth, output),
        "mape": reference.mean_absolute_percentage_error(truth, output),
        "r2": reference.r2_score(truth, output),
        "rmse_log": reference.root_mean_squared_log_error(truth, output),
        "r2_log": reference.r2_score(np.log1p(truth), np.log1p(output)),
        "mdape": np.median(np.abs(truth - output) / truth),
    }
    assert found == pytest.approx(expected)


def test_a_negative_price_counts_as_zero_in_log_metrics():
    assert METRICS["rmse_log"](np.array([np.e - 1]), np.array([-5.0])) == pytest.approx(1)


@pytest.mark.parametrize("threshold", [None, 0.2])
def test_binary(threshold):
    truth = (RANDOM.random(800) < 0.3).astype(float)
    positive = np.round(np.clip(0.3 * truth + 0.7 * RANDOM.random(800), 0.01, 0.99), 2)  # rounded: many ties
    named = positive >= (threshold or 0.5)
    expected = {
        "roc_auc": reference.roc_auc_score(truth, positive),
        "brier": reference.brier_score_loss(truth, positive),
        "accuracy": reference.accuracy_score(truth, named),
        "f1": reference.f1_score(truth, named),
        "precision": reference.precision_score(truth, named),
        "recall": reference.recall_score(truth, named),
        "log_loss": reference.log_loss(truth, positive),
    }
    assert score(
        "binary", truth, np.column_stack([1 - positive, positive]), threshold=threshold
    ) == pytest.approx(expected)


def test_multiclass():
    truth = RANDOM.integers(0, 4, 600).astype(float)
    output = RANDOM.dirichlet(np.ones(4), 600) + 0.4 * np.eye(4)[truth.astype(int)]
    output /= output.sum(axis=1, keepdims=True)
    expected = {
        "accuracy": reference.accuracy_score(truth, output.argmax(axis=1)),
        "f1_macro": reference.f1_score(truth, output.argmax(axis=1), average="macro"),
        "brier": np.mean(((output - np.eye(4)[truth.astype(int)]) ** 2).sum(axis=1)),
        "log_loss": reference.log_loss(truth, output, labels=range(4)),
    }
    assert score("multiclass", truth, output) == pytest.approx(expected)


def test_what_is_not_defined_is_nan():
    one_class = np.column_stack([np.zeros(5), np.ones(5)])
    assert np.isnan(METRICS["roc_auc"](np.ones(5), one_class))
    assert np.isnan(METRICS["rmse"](np.array([]), np.array([])))


@pytest.mark.parametrize(
    ("rule", "worth"),
    [
        (Threshold(), reference.f1_score),
        (Threshold(beta=2.0), lambda t, p: reference.fbeta_score(t, p, beta=2)),
        (Threshold(beta=0.5), lambda t, p: reference.fbeta_score(t, p, beta=0.5, zero_division=0)),
        (Threshold(cost=5.0), lambda t, p: -(5 * np.sum((t == 1) & ~p) + np.sum((t == 0) & p))),
        (Threshold(cost=0.1), lambda t, p: -(0.1 * np.sum((t == 1) & ~p) + np.sum((t == 0) & p))),
    ],
    ids=["f1", "f2", "f0.5", "dear misses", "cheap misses"],
)
def test_the_threshold_is_the_best_one_by_its_rule(rule, worth):
    for seed in range(8):
        random = np.random.default_rng(seed)
        truth = (random.random(40) < 0.2).astype(float)
        positive = np.round((0.2 * truth + random.random(40)) / 1.3, 1)
        tried = [worth(truth, positive >= t) for t in [*np.unique(positive), 1.0]]
        assert worth(truth, positive >= rule.choose(truth, positive)) == pytest.approx(max(tried))
    assert rule.choose(np.zeros(3), np.array([0.1, 0.2, 0.3])) == 0.5


def test_a_fixed_threshold_is_taken_and_a_wrong_one_refused():
    assert Threshold(fixed=0.3).choose(np.ones(2), np.array([0.1, 0.9])) == 0.3
    with pytest.raises(UseCaseError, match="one rule"):
        Threshold(beta=2.0, fixed=0.3)
    for wrong in ({"fixed": 1.5}, {"cost": 0.0}, {"beta": -1.0}):
        with pytest.raises(UseCaseError, match="above 0"):
            Threshold(**wrong)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_is_best_for_perfect_predictions_by_its_direction(metric):
    """The direction in the table is that of the function: perfect predictions rank above poor ones."""
    if metric.name in score("regression", np.ones(2), np.ones(2)):
        truth = np.array([1.0, 2.0, 3.0, 4.0])
        perfect, poor = truth, truth[::-1]
    else:
        truth = np.array([0.0, 1.0, 1.0, 0.0])
        perfect, poor = np.eye(2)[truth.astype(int)], np.eye(2)[1 - truth.astype(int)]
    assert metric.sign * metric(truth, perfect) > metric.sign * metric(truth, poor)
    assert greater_is_better(metric.name) is (metric.sign == 1)


def test_the_direction_of_an_unknown_metric_is_unknown():
    assert greater_is_better("live.something") is None


def test_a_use_case_may_name_any_metric_of_the_table_with_a_gate_of_its_own():
    own = Metric("f1", greater_is_better=True, gate=("log_loss", 0.1))
    truth, output = np.array([0.0, 1.0]), np.array([[0.9, 0.1], [0.2, 0.8]])
    assert own(truth, output) == METRICS["f1"](truth, output) == 1
    with pytest.raises(UseCaseError, match="no metric 'f2'; there are rmse"):
        Metric("f2", greater_is_better=True)
    with pytest.raises(UseCaseError, match="greater_is_better of the metric rmse must be False"):
        Metric("rmse", greater_is_better=True)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_each_metric_says_in_words_what_it_means(metric):
    """In a title and one sentence; that of a use case, too, which is made by name and direction alone."""
    assert metric.title
    assert re.fullmatch(r"[A-Z][^.]*([.]\d[^.]*)*[.]", metric.about), metric.about
    named = Metric(metric.name, greater_is_better=metric.greater_is_better)
    assert (named.title, named.about, named.shown) == (metric.title, metric.about, metric.shown)
    assert about_metric(metric.name).endswith("ower is better." if metric.sign < 0 else "igher is better.")


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("mdape", 0.1771, "17.7%"),
        ("mae", 56769.8, "56,770 USD"),
        ("rmse_log", 0.27324, "0.2732"),
        ("accuracy", 0.9318, "93.2%"),
        ("roc_auc", 0.74, "0.74"),
        ("one of a later release", 3.0, "3"),
        ("rmse", None, "–"),
        ("rmse", float("nan"), "–"),
    ],
)
def test_a_value_has_its_unit(metric, value, text):
    assert formatting.score(metric, value, "USD") == text
