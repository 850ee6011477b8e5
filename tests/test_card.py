"""`lab card`, and the card that a version has in MLflow."""

import json

import pytest
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.steps.promote import roll_back


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    return lambda *arguments: CliRunner().invoke(app, ["card", "flats", *arguments])


def test_the_card_is_that_of_the_champion_or_of_the_version_named(trained, use_case, run):
    champion = trained.ledger.standing("flats").champion
    other = ({1, 2} - {champion}).pop()
    text = run().stdout
    assert text == run(str(champion)).stdout
    assert text.startswith(f"# Rent of a flat, version {champion}\n")
    [decision] = trained.ledger.promotions("flats")
    assert f"**Decision:** promoted, {decision.reason}\n" in text
    contract = trained.predictor(trained.registry.version("flats", champion)).contract
    assert f"digest `{contract.lineage.digest[:12]}`" in text
    assert f"{contract.lineage.cpu_seconds:,.1f} CPU seconds" in text
    assert 0 < contract.lineage.cpu_seconds < 600
    assert 50 < contract.lineage.peak_mb < 10_000
    assert "**Decision:** not chosen, " in run(str(other)).stdout

    found = json.loads(run(str(champion), "--json").stdout)
    assert found["outcome"] == "promoted"
    assert found["evaluation"] == contract.evaluation.model_dump(mode="json")
    assert found["lineage"]["batches"] == [1]

    # MLflow shows the short one with the version, and the run has the whole one of its time.
    stored = {version.version: version for version in trained.registry.versions("flats")}
    assert f"**Decision:** promoted, {decision.reason}" in stored[champion].description
    assert "**Decision:** not chosen, " in stored[other].description
    written = trained.tracking.read_bytes(stored[champion].run_id, "card.md").decode()
    assert written.partition("\n## ")[2] == text.partition("\n## ")[2]

    roll_back(trained, use_case, other)
    assert "**Decision:** rolled back, " in trained.registry.version("flats", champion).description


def test_what_there_is_not_is_one_line(run):
    done = run("9")
    assert (done.exit_code, done.stderr) == (1, "error: flats has no version 9; its newest: 2, 1\n")
