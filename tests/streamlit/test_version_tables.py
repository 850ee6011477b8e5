"""The Models page's tables: which score is better follows from the one table of metrics."""

from datetime import UTC, datetime

import pytest

from mlops_lab.client import ModelVersion
from mlops_lab.model.tags import CandidateTags, VersionTags
from mlops_lab.settings import REPOSITORY


@pytest.fixture
def ui_versions(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_versions

    return ui_versions


@pytest.fixture
def candidate(ui_versions):
    def make(name: str, **metrics: float):
        tags = CandidateTags(candidate=name).to_mlflow()
        started = datetime(2026, 1, 1, tzinfo=UTC)
        return ui_versions.Run(name, "1", name, started, "FINISHED", metrics, {}, tags)

    return make


@pytest.mark.parametrize("metric", ["f1_macro", "precision", "recall", "r2_log", "roc_auc", "accuracy"])
def test_of_these_metrics_more_is_better(ui_versions, candidate, metric):
    runs = [
        candidate("low", **{f"validation.{metric}": 0.4}),
        candidate("high", **{f"validation.{metric}": 0.9}),
    ]
    assert list(ui_versions.candidate_table(runs, {}, metric)["candidate"]) == ["high", "low"]
    assert ui_versions.gain(0.9, 0.5, metric) == pytest.approx(0.8)


@pytest.mark.parametrize("metric", ["rmse", "rmse_log", "mae", "log_loss", "brier"])
def test_of_these_metrics_less_is_better(ui_versions, candidate, metric):
    runs = [
        candidate("high", **{f"validation.{metric}": 0.9}),
        candidate("low", **{f"validation.{metric}": 0.4}),
    ]
    assert list(ui_versions.candidate_table(runs, {}, metric)["candidate"]) == ["low", "high"]
    assert ui_versions.gain(0.4, 0.8, metric) == pytest.approx(0.5)


def test_a_version_without_scores_is_in_the_table_and_not_in_the_chart(ui_versions):
    scored = VersionTags(candidate="ridge", metric="rmse", test=2.0, outcome="rolled back").to_mlflow()
    versions = [ModelVersion(version=2), ModelVersion(version=1, aliases=("champion",), tags=scored)]
    table = ui_versions.version_table(versions)
    assert list(table["version"]) == [2, 1]
    shown = ui_versions.scored(table)
    assert list(shown["version"]) == [1]
    assert list(shown["outcome"]) == ["not chosen"]
