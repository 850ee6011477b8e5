"""`lab replay`: past promotions by another policy, from their stored scores."""

import json

import pytest
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.errors import LabError
from mlops_lab.loop import run_batch
from mlops_lab.replay import metric_of, policy_of
from tests.support.data_api import END
from tests.support.flats import batch, flats


def test_a_decision_is_taken_again_by_another_policy_without_a_training(
    trained, use_case, course, monkeypatch
):
    monkeypatch.setattr("mlops_lab.model.figures.draw", lambda *_: [])
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))

    def replayed(*options) -> list[dict]:
        found = CliRunner().invoke(app, ["replay", "flats", "--json", *options], catch_exceptions=False)
        return json.loads(found.stdout)

    champion = trained.ledger.standing("flats").champion
    # A new batch has a run of its own: MLflow's client keeps the template's paths for the runs of the template.
    course.will_answer(batch(2, flats(600, seed=4)), END)
    outcome = run_batch(trained, use_case).outcome
    before = trained.ledger.promotions("flats")

    first, second = replayed()
    assert (first["champion"], first["was"], first["would"]) == (None, "promoted", None)
    assert "no comparison was made" in first["reason"]
    assert second["reason"] == outcome.reason
    assert (second["champion"], second["was"], second["would"]) == (champion, "promoted", "promoted")
    # Two linear models differ by less than the usual margin.
    strict = replayed("--policy", '{"margin": 0.01, "sure": 0.975, "very_sure": null}')[1]
    assert strict["would"] == "refused"
    assert "rmse " in strict["reason"]
    assert "r2 " in replayed("--metric", "r2")[1]["reason"]
    sliced = replayed("--policy", '{"slices": {"district": 0.1}}')[1]
    assert (sliced["would"], sliced["reason"]) == (None, "its per-row scores have no slices by district")
    assert trained.ledger.promotions("flats") == before


@pytest.mark.parametrize(
    ("changes", "metric", "words"),
    [
        ({"margin": -1}, None, "the policy's margin: "),
        ({"edge": 1}, None, "the policy's edge: "),
        ({"slices": {"area": 1}}, None, "slices by area"),
        ({}, "auc", "flats has no metric auc; there are rmse"),
    ],
)
def test_what_a_policy_cannot_be_is_one_line(use_case, changes, metric, words):
    with pytest.raises(LabError, match=words) as raised:
        (policy_of(use_case, changes), metric_of(use_case, metric))
    assert "\n" not in str(raised.value)
