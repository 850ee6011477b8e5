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


@pytest.mark.parametrize(
    "metric", ["f1_macro", "precision", "recall", "r2_log", "roc_auc", "accuracy", "rmse", "mae", "brier"]
)
def test_the_best_candidate_by_validation_is_first(ui_versions, candidate, metric):
    runs = [candidate(name, **{f"validation.{metric}": float(name)}) for name in ("0.4", "0.9", "0.6")]
    runs.append(candidate("refused"))
    up, down = ["0.9", "0.6", "0.4", "refused"], ["0.4", "0.6", "0.9", "refused"]
    found = list(ui_versions.candidate_table(runs, {}, metric)["candidate"])
    assert found == (down if metric in ("rmse", "mae", "brier") else up)


def test_the_scores_of_candidates_have_words_and_units(ui_versions, candidate):
    run = candidate("ridge", **{"validation.rmse_log": 0.3, "test.mae": 56769.8, "test.interval_width": 9.0})
    [row] = ui_versions.candidate_table([run], {"ridge": 7}, "rmse_log", "USD").to_dict("records")
    assert row == {
        "candidate": "ridge",
        "version": "7",
        "validation": "0.3",
        "Error of the logarithm": "–",
        "Mean error": "56,770 USD",
    }


@pytest.mark.parametrize(
    ("metric", "score", "baseline", "share"),
    [("rmse_log", 0.4, 0.8, 0.5), ("rmse", 0.9, 0.6, -0.5), ("f1", 0.9, 0.5, 0.8), ("rmse", 1.0, 0.0, None)],
)
def test_the_gain_is_a_share_of_the_baselines_error(ui_versions, metric, score, baseline, share):
    assert ui_versions.gain(score, baseline, metric) == (share if share is None else pytest.approx(share))


def version(number: int, aliases: tuple[str, ...] = (), **facts) -> ModelVersion:
    return ModelVersion(version=number, aliases=aliases, tags=VersionTags(**facts).to_mlflow())


def test_decisions_are_told_from_the_other_candidates(ui_versions):
    versions = [
        version(
            5, ("challenger", "champion"), outcome="promoted", reason="better and sure: rmse 2 against 3"
        ),
        version(4, outcome="not chosen"),
        version(3, ("previous",)),
        version(2),
        version(1, outcome="rolled back"),
    ]
    table = ui_versions.version_table(versions)
    assert list(table["version"]) == [5, 4, 3, 2, 1]
    decided = ui_versions.decisions(table)
    assert list(decided["version"]) == [5, 3, 1]
    assert list(decided["aliases"]) == ["champion", "previous", ""]
    assert decided["reason"].iloc[0] == "better and sure"


def test_candidates_are_compared_within_their_training_alone(ui_versions):
    """The first training has easier rows; its ridge was trained twice."""
    scores = [(1, "ridge", 9.0), (1, "trees", 1.0), (1, "ridge", 1.5), (2, "trees", 4.0), (2, "ridge", 3.0)]
    versions = [
        version(number, candidate=name, metric="rmse", batch_id=batch, batch_number=batch, validation=score)
        for number, (batch, name, score) in enumerate(scores, 1)
    ]
    alone = version(6, candidate="ridge", metric="rmse", batch_id=3, validation=1.0)
    unscored = version(7, candidate="trees", metric="rmse", batch_id=2)
    found = ui_versions.behind([*versions[::-1], alone, unscored]).set_index("version")["behind"]
    assert found.to_dict() == pytest.approx({2: 0.0, 3: 0.5, 4: 1 / 3, 5: 0.0})
    higher = [version(1, candidate="a", metric="f1", batch_id=1, validation=0.9)]
    higher.append(version(2, candidate="b", metric="f1", batch_id=1, validation=0.8))
    assert list(ui_versions.behind(higher)["behind"]) == pytest.approx([0.0, 1.0])
