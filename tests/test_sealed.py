"""The sealed rows: no training and no decision reads them; each champion is scored on them once."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.data.split import SEALED, SPLITS
from mlops_lab.loop import train_now
from mlops_lab.metrics import METRICS
from mlops_lab.model.predicted import predicted
from mlops_lab.steps.promote import roll_back
from mlops_lab.steps.reconcile import reconcile
from mlops_lab.steps.reproduce import reproduce
from tests.support.flats import flats, splits
from tests.support.labs import change_clean

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def loop(trained, use_case, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    monkeypatch.setenv("COLUMNS", "200")
    trained.store.prepare_tables(use_case)
    return trained


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def champion(lab):
    return lab.registry.version("flats", lab.ledger.standing("flats").champion)


def score(lab, use_case, version) -> float:
    """The champion's score on the sealed rows, computed again."""
    predictor, frame = lab.predictor(version), lab.snapshots.read(use_case, split=SEALED)
    truth = predictor.contract.encode_target(frame["rent"])
    return METRICS[predictor.contract.metric](truth, predicted(predictor, frame))


def test_a_champion_is_scored_once_on_rows_that_no_training_and_no_promotion_reads(loop, use_case):
    first = champion(loop)
    sealed = splits(flats(600)).count(SEALED)
    assert first.facts.sealed_rows == sealed > 20
    assert first.facts.sealed == pytest.approx(score(loop, use_case, first))
    assert first.facts.sealed_low < first.facts.sealed < first.facts.sealed_high
    others = [version for version in loop.registry.versions("flats") if version.version != first.version]
    assert [version.facts.sealed for version in others] == [None]
    lineage = loop.predictor(first).contract.lineage
    assert set(lineage.rows) == set(SPLITS)
    assert sum(lineage.rows.values()) == 600 - sealed

    # Prices that nobody must see: a training that read them would come out different, a comparison would, too.
    assert change_clean(loop, f"UPDATE flats_clean SET rent = 100 * rent WHERE split = '{SEALED}'") == sealed
    assert reproduce(loop, use_case, first.version).causes == []
    assert train_now(loop, use_case).outcome.promoted
    before, after = loop.ledger.promotions("flats")
    assert after.challenger_score == after.champion_score == before.challenger_score
    assert after.holdout_digest == before.holdout_digest
    # The new champion is scored on the rows of now, the first one never again.
    assert champion(loop).facts.sealed == pytest.approx(score(loop, use_case, champion(loop)))
    assert champion(loop).facts.sealed > 100 * first.facts.sealed
    roll_back(loop, use_case, first.version)
    again = champion(loop).facts
    assert replace(again, champion_since=first.facts.champion_since) == first.facts


def test_status_and_why_show_it_beside_the_number_of_decisions(loop, use_case):
    facts = champion(loop).facts
    [entry] = json.loads(said("status", "flats", "--json"))
    assert entry["champion"]["sealed"] == facts.sealed
    assert (entry["champion"]["sealed_rows"], entry["champion"]["holdout_uses"]) == (facts.sealed_rows, 1)
    since = str(loop.ledger.promotions("flats")[0].decided_at.date())
    words = facts.sealed_words
    assert words.endswith(f"on {facts.sealed_rows} sealed rows, too few to say much")
    assert f"sealed: {words}; 1 decision read the test rows since {since}\n" in said("status", "flats")
    assert f"on validation; later, as champion, {words})" in said("why", "flats")
    # Whoever is decided on next says how often the test rows were read by then: the page has only the versions.
    assert (facts.holdout_uses, facts.holdout_since) == (1, since)
    train_now(loop, use_case)
    assert champion(loop).facts.holdout_uses == 2
    assert f"; 2 decisions read the test rows since {since}\n" in said("status", "flats")


def test_a_champion_without_sealed_rows_says_so_and_is_scored_when_there_are_some(loop, use_case):
    version = champion(loop)
    for name in [name for name in version.tags if name.startswith("lab.sealed")]:
        loop.registry.client.delete_model_version_tag("flats", str(version.version), name)
    # As an earlier release left it: it stored these groups as test rows, and promotions have read them.
    sealed = change_clean(loop, f"UPDATE flats_clean SET split = 'test' WHERE split = '{SEALED}'")
    reconcile(loop, use_case)
    assert champion(loop).facts.sealed is None
    assert "sealed: no sealed rows yet; 1 decision" in said("status", "flats")
    # A later row of such a group isn't unseen, another one is.
    known = "(SELECT MIN(group_hash) FROM flats_clean WHERE split = 'test')"
    other = "(SELECT row_hash FROM flats_clean WHERE split = 'train' ORDER BY row_hash LIMIT 2)"
    assert change_clean(loop, f"UPDATE flats_clean SET split = '{SEALED}' WHERE row_hash IN {other}") == 2
    first = f"(SELECT MIN(row_hash) FROM flats_clean WHERE split = '{SEALED}')"
    change_clean(loop, f"UPDATE flats_clean SET group_hash = {known} WHERE row_hash = {first}")
    assert sealed > 20
    reconcile(loop, use_case)
    assert champion(loop).facts.sealed_rows == 1
    assert champion(loop).facts.sealed == pytest.approx(score(loop, use_case, champion(loop)))


def test_a_fault_of_the_score_stops_nothing(loop, use_case, monkeypatch):
    version = champion(loop)
    loop.registry.client.delete_model_version_tag("flats", str(version.version), "lab.sealed")
    lines = []
    monkeypatch.setattr(loop, "progress", lines.append)
    change_clean(loop, "ALTER TABLE flats_clean RENAME TO elsewhere")
    reconcile(loop, use_case)
    again, line = lines
    assert again.endswith("is missing; it is made again from CleanData")
    assert line.startswith(f"version {version.version} isn't scored on the sealed rows yet: ")
    change_clean(loop, "ALTER TABLE elsewhere RENAME TO flats_clean")
    reconcile(loop, use_case)
    assert champion(loop).facts.sealed == version.facts.sealed
