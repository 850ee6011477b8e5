"""The loop as its records tell it: the steps of a batch while they run, champions, challenges, and `lab watch`."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.client import ModelVersion
from mlops_lab.loop import run_batch
from mlops_lab.model.runs import Run
from mlops_lab.model.tags import BatchTags, CandidateTags, VersionTags
from mlops_lab.progress import NEWEST, Challenge, challenges, champions, newest_batch
from mlops_lab.steps.promote import promote_by_hand, roll_back
from tests.support.flats import batch, flats

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DONE = ["done"] * 8


def seen(lab) -> list[str]:
    """The states of the newest batch's steps, as they are now."""
    found = newest_batch(lab.tracking.newest_runs("flats", NEWEST), datetime.now(UTC))
    return [step.state for step in found.steps] if found else []


def test_a_batch_is_seen_step_by_step_while_it_runs(lab, use_case, course, monkeypatch, without_pictures):
    """Each line of progress of the real loop is a moment at which another process may look."""
    course.will_answer(batch(1, flats(300)))
    looks = {}

    def look(text: str) -> None:
        looks[text.split(",")[0].split(":")[0]] = seen(lab)

    lab.progress = look
    run_batch(lab, use_case)
    assert looks["batch 1 landed"] == []
    validated = next(states for text, states in looks.items() if text.endswith("rows received"))
    assert validated == ["done", "done", *["to come"] * 6]
    prepared = next(states for text, states in looks.items() if text.endswith("new clean rows"))
    assert prepared[:4] == ["done", "done", "done", "to come"]
    assert looks["decision"][3:6] == ["done", "running", "to come"]
    served = next(states for text, states in looks.items() if text.endswith("predicts its example"))
    assert served == [*["done"] * 6, "running", "to come"]
    found = newest_batch(lab.tracking.newest_runs("flats", NEWEST), datetime.now(UTC))
    assert seen(lab) == DONE
    assert found.now(found.ended + timedelta(minutes=5)) == "Batch 1 ended 5 minutes ago"
    assert [step.name for step in found.steps if step.seconds is None] == ["land"]


def test_a_step_that_fails_says_why_until_it_runs_again(lab, use_case, course, monkeypatch):
    course.will_answer(batch(1, flats(300)))
    with monkeypatch.context() as broken:
        broken.setattr(lab.store, "known_rows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_batch(lab, use_case)
    found = newest_batch(lab.tracking.newest_runs("flats", NEWEST), datetime.now(UTC))
    assert found.state == "failed"
    assert found.now(NOW) == "Batch 1 stopped: division by zero"
    assert [step.state for step in found.steps][:4] == ["done", "done", "failed", "to come"]


def test_an_earlier_releases_batch_is_told_from_its_results():
    tags = BatchTags(batch_number=3, decision="skip", reason="nothing new", outcome="skipped")
    old = Run("r", "1", "batch-3", NOW, "FINISHED", {"received": 50, "quarantined": 2, "clean": 40}, {}, {})
    old = replace(old, tags=tags.to_mlflow(), ended=NOW + timedelta(seconds=9))
    found = newest_batch([old], NOW)
    states = [step.state for step in found.steps]
    assert states == ["done"] * 4 + ["left out"] * 3 + ["done"]
    assert found.steps[1].about == "50 received, 2 quarantined"
    # While it runs, and after its process was killed.
    open_ = replace(
        old, status="RUNNING", ended=None, tags=replace(tags, decision="train", outcome="").to_mlflow()
    )
    one = CandidateTags(candidate="ridge").to_mlflow() | {"mlflow.parentRunId": "r"}
    child = Run("c", "1", "ridge-3", NOW, "RUNNING", {}, {}, one)
    found = newest_batch([child, open_], NOW + timedelta(seconds=30))
    assert (found.steps[4].state, found.steps[4].seconds, found.steps[4].about) == ("running", 30, "ridge")
    assert newest_batch([child, open_], NOW + timedelta(hours=2)).state == "silent"


def test_each_decision_leaves_its_comparison_and_its_term_on_the_version(trained, use_case, two):
    champion, challenger = two
    assert promote_by_hand(trained, use_case, challenger).version == challenger
    decision = trained.ledger.promotions("flats")[-1]
    facts = trained.registry.version("flats", challenger).facts
    assert (facts.against, facts.compared_rows) == (champion, decision.holdout_rows)
    assert (facts.interval_low, facts.interval_high) == (decision.interval_low, decision.interval_high)
    versions = trained.registry.versions("flats")
    last = challenges(versions)[-1] if challenger > champion else challenges(versions)[0]
    assert last.better == pytest.approx(decision.champion_score - decision.challenger_score)
    assert last.words.startswith("better by ")
    assert f"{last.verdict}, on the same {decision.holdout_rows} rows" in last.words
    promoted = decision.outcome == "promoted"
    if promoted:
        roll_back(trained, use_case, champion)
    terms = champions(trained.registry.versions("flats"))
    assert terms[-1].version == champion
    assert terms[-1].until is None
    assert len({term.since for term in terms}) == len(terms)
    assert all(term.until == later.since for term, later in pairwise(terms))


def test_an_interval_around_zero_is_within_the_noise_and_an_old_record_has_its_reason():
    known = Challenge(12, "ridge", 8, "rmse_log", "refused", "", NOW, 1093, 0.2559, 0.2567, -0.0017, 0.0036)
    assert known.words == ("better by 0.0008, −0.0017 … 0.0036: within the noise, on the same 1,093 rows")
    assert replace(known, metric="roc_auc").words.startswith("worse by 0.0008")
    assert replace(known, low=0.0002).verdict == "surely better"
    old = VersionTags(candidate="ridge", metric="rmse", outcome="promoted", reason="first champion")
    version = ModelVersion(version=3, created_at=NOW, tags=old.to_mlflow())
    assert [one.words for one in challenges([version])] == ["first champion"]
    assert [(term.version, term.since) for term in champions([version])] == [(3, NOW)]


def test_watch_tells_the_same_once_and_as_json(trained, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    said = CliRunner().invoke(app, ["watch"])
    assert said.exit_code == 0, said.output
    champion = trained.ledger.standing("flats").champion
    assert f"champion: version {champion} (" in said.stdout
    assert "✓ roll out" in said.stdout
    found = json.loads(CliRunner().invoke(app, ["watch", "flats", "--json"]).stdout)
    assert [step["state"] for step in found["batch"]["steps"]] == DONE
    assert [term["version"] for term in found["champions"]] == [champion]
