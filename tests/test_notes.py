"""The descriptions in MLflow: every experiment, run, model and version has one, and a person's own stays."""

from dataclasses import replace

from mlops_lab.model import notes
from mlops_lab.model.tags import NOTE, BatchTags, CandidateTags, MonitoringTags, PointTags
from mlops_lab.monitor import monitor
from mlops_lab.steps.promote import roll_back


def test_experiment_runs_model_and_versions_are_described_and_follow_the_decisions(trained, use_case):
    client, champion = trained.registry.client, trained.ledger.standing("flats").champion
    [decision] = trained.ledger.promotions("flats")
    monitor(trained, use_case)
    experiment = client.get_experiment_by_name("flats")
    assert experiment.tags[NOTE].startswith("**Rent of a flat.**")
    runs = {run.info.run_name: run.data.tags[NOTE] for run in client.search_runs([experiment.experiment_id])}
    assert all(runs.values())
    batch = trained.ledger.batches("flats")[0]
    assert runs["batch-1"].splitlines()[0] == (
        f"Batch 1. {batch.received:,} rows received, {batch.quarantined} quarantined, {batch.clean:,} new clean rows."
    )
    assert "**Training:** train, there is no champion yet" in runs["batch-1"]
    assert f"**Decision:** version {champion} promoted, {decision.reason}" in runs["batch-1"]

    found = trained.registry.version("flats", champion)
    assert client.get_run(found.run_id).data.tags[NOTE] == found.description
    score = f"{found.facts.metric} {found.facts.test:.4g} on test rows"
    assert (
        f"**Champion:** version {champion}, `{found.facts.candidate}`, {score}"
        in client.get_registered_model("flats").description
    )

    other = ({1, 2} - {champion}).pop()
    roll_back(trained, use_case, other)
    assert f"**Champion:** version {other}, " in client.get_registered_model("flats").description
    assert "**Decision:** rolled back, " in client.get_run(found.run_id).data.tags[NOTE]

    # A person's own words stay; a run that somebody deleted keeps no decision from being recorded.
    client.update_registered_model("flats", "Ask Ana before you touch it")
    client.set_experiment_tag(experiment.experiment_id, NOTE, "Ours")
    client.set_tag(batch.run, NOTE, "Look at this batch")
    client.delete_run(found.run_id)
    trained.tracking.describe(use_case)
    trained.tracking.log(batch.run, tags=BatchTags(outcome="rolled back", outcome_reason="by a test"))
    roll_back(trained, use_case, champion)
    assert client.get_registered_model("flats").description == "Ask Ana before you touch it"
    assert client.get_experiment_by_name("flats").tags[NOTE] == "Ours"
    assert client.get_run(batch.run).data.tags[NOTE] == "Look at this batch"


def test_a_text_from_outside_is_no_markup_and_a_run_of_another_kind_has_no_description():
    evil = "<img src=http://elsewhere/x> | ![a](http://elsewhere) `b`"
    tags = CandidateTags(candidate="a`b", batch_number=2, outcome="refused", outcome_reason=evil)
    text = notes.of_run(tags.to_mlflow(), {})
    assert text.startswith("`a b`, trained after batch 2.\n\n**Decision:** refused, \\<img")
    assert "![a](" not in text
    point = PointTags(candidate="knn", outcome="given up")
    assert notes.of_run(point.to_mlflow(), {}).endswith("batch without a number.\n\nGiven up")
    check = MonitoringTags(version=3, outcome="stable", outcome_reason="nothing drifted")
    assert notes.of_run(check.to_mlflow(), {}) == (
        "A check of what version 3 predicted.\n\n**Result:** stable, nothing drifted"
    )
    assert notes.of_run(replace(tags, candidate="x").to_mlflow() | {"lab.kind": "mine"}, {}) == ""
