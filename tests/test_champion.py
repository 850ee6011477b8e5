"""The champion is the ledger's newest decision, also after a kill, after a repeated step, and of two at once."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mlops_lab.contract import MODEL_FILE
from mlops_lab.errors import ServiceError
from mlops_lab.loop import run_batch, train_now
from mlops_lab.model.registry import CHAMPION, PREVIOUS
from mlops_lab.monitor import monitor
from mlops_lab.rollout import RolloutError
from mlops_lab.steps.promote import promote, roll_back
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture
def one(use_case):
    """The use case with its first candidate only."""
    return replace(use_case, candidates=use_case.candidates[:1])


def champion(lab) -> int:
    """The champion, on which registry and ledger must agree."""
    found = lab.registry.aliases("flats")
    standing = lab.ledger.standing("flats")
    assert (found.get(CHAMPION), found.get(PREVIOUS)) == (standing.champion, standing.previous)
    return standing.champion


def runs(lab) -> dict[str, str]:
    """The status of every run, by its id."""
    client = lab.registry.client
    found = client.search_runs([client.get_experiment_by_name("flats").experiment_id])
    return {run.info.run_id: run.info.status for run in found}


def killed(*_, **__):
    raise KeyboardInterrupt


def test_a_promotion_that_runs_again_takes_nothing_back(trained, one, course):
    first = champion(trained)
    assert train_now(trained, one, force=False).outcome is None
    [entry] = trained.ledger.batches("flats")
    assert (entry.decision, entry.reason) == ("train", "there is no champion yet")
    tags = trained.registry.client.get_run(entry.mlflow_run).data.tags
    assert (tags["lab.decision"], tags["lab.outcome"]) == ("train", "promoted")

    course.will_answer(batch(2, flats(600, seed=4)), END)
    second = run_batch(trained, one).outcome.version
    assert champion(trained) == second != first
    history, earlier, later = trained.ledger.promotions("flats"), *trained.ledger.batches("flats")

    again = promote(trained, one, earlier.id)
    assert (again.promoted, again.version) == (False, first)
    assert "another version became champion since" in again.reason
    assert champion(trained) == second
    assert promote(trained, one, later.id).promoted
    assert trained.ledger.promotions("flats") == history

    # A person's rollback stays in force, too.
    assert roll_back(trained, one) == first
    assert not promote(trained, one, later.id).promoted
    assert champion(trained) == first
    assert trained.registry.version("flats", second).facts.outcome == "rolled back"


@pytest.mark.fault
def test_of_two_promotions_at_once_the_ledgers_winner_is_champion(trained, one, monkeypatch):
    original, others = trained.ledger.put_promotion, []

    def overtaken(decision):
        recorded = original(decision)
        if not others:  # between the ledger and the alias, another process promotes
            others.append(decision.challenger)
            others.append(train_now(trained, one).outcome)
        return recorded

    monkeypatch.setattr(trained.ledger, "put_promotion", overtaken)
    slow = train_now(trained, one).outcome
    early, quick = others
    assert quick.promoted
    assert trained.ledger.promotions("flats")[-1].champion == early, "compared with the ledger's champion"
    assert champion(trained) == quick.version
    assert (slow.promoted, slow.version) == (False, early)


def test_a_rollout_that_fails_after_another_promotion_takes_nothing_back(trained, one, monkeypatch):
    trained.settings = trained.settings.model_copy(update={"inference_url": "http://127.0.0.1:9"})
    calls = []

    def overtaken(*_):
        calls.append(len(calls))
        if len(calls) == 1:
            calls.append(train_now(trained, one).outcome.version)
            raise RolloutError("still serves another version")
        return 1

    monkeypatch.setattr("mlops_lab.steps.promote.check_replicas", overtaken)
    train_now(trained, one)
    assert champion(trained) == calls[-1]
    assert {row.outcome for row in trained.ledger.promotions("flats")} == {"promoted"}


@pytest.mark.fault
@pytest.mark.parametrize("point", ["set_alias", "tag"])
def test_a_run_killed_in_the_promotion_is_continued_without_a_new_training(
    trained, use_case, course, monkeypatch, point
):
    course.will_answer(batch(2, flats(600, seed=4)), END)
    with monkeypatch.context() as patch:
        original = getattr(trained.registry, point)
        patch.setattr(
            trained.registry, point, lambda *a: killed() if CHAMPION in a or point == "tag" else original(*a)
        )
        with pytest.raises(KeyboardInterrupt):
            run_batch(trained, use_case)
    decision = trained.ledger.promotions("flats")[-1]
    assert run_batch(trained, use_case).outcome.promoted
    assert champion(trained) == decision.challenger
    assert len(trained.ledger.promotions("flats")) == 2
    outcomes = [version.facts.outcome for version in trained.registry.versions("flats")]
    assert sorted(outcomes) == ["not chosen"] * 2 + ["promoted"] * 2
    entry = trained.ledger.batches("flats")[1]
    assert (entry.state, entry.decision) == ("done", "train")
    assert "new to the champion" in entry.reason


@pytest.mark.fault
@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (Path.unlink, "model.onnx is no longer in the store"),
        (lambda graph: graph.write_bytes(b"other"), "they were changed after registration"),
    ],
    ids=["gone", "changed"],
)
def test_a_champion_whose_files_are_lost_is_replaced_by_the_next_batch(trained, one, course, damage, why):
    first = trained.registry.version("flats", champion(trained))
    [graph] = [path for path in trained.settings.home.rglob(MODEL_FILE) if first.run_id in str(path)]
    damage(graph)
    shutil.rmtree(trained.cache, ignore_errors=True)
    course.will_answer(batch(2, flats(5, seed=4)), END)
    assert run_batch(trained, one).outcome.promoted
    assert champion(trained) != first.version
    decided = trained.ledger.promotions("flats")[-1].reason
    assert why in decided
    assert why in trained.ledger.batches("flats")[-1].reason
    assert "no comparison: first champion" in decided


@pytest.mark.fault
def test_a_registry_that_hands_out_no_files_replaces_no_champion(trained, one, course, monkeypatch):
    def away(*_, **__):
        raise OSError("connection refused")

    before = champion(trained)
    course.will_answer(batch(2, flats(600, seed=4)), END)
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", away)
    shutil.rmtree(trained.cache, ignore_errors=True)
    with pytest.raises(ServiceError, match="can't be downloaded: connection refused"):
        run_batch(trained, one)
    assert champion(trained) == before


@pytest.mark.fault
def test_what_a_kill_left_in_mlflow_is_set_right(trained, one, course, monkeypatch):
    course.will_answer(batch(2, flats(600, seed=4)), END)
    with monkeypatch.context() as patch:
        # As after SIGKILL, the candidate's run isn't ended, and its version has no record.
        patch.setattr(trained.tracking, "end", lambda *_, **__: None)
        patch.setattr(trained.ledger, "put_model", killed)
        with pytest.raises(KeyboardInterrupt):
            run_batch(trained, one)
    [lost] = [
        run
        for run, status in runs(trained).items()
        if status == "RUNNING" and run != trained.ledger.batches("flats")[1].mlflow_run
    ]
    with monkeypatch.context() as patch:
        patch.setattr(
            trained.tracking,
            "end",
            lambda run, **_: killed() if run == trained.ledger.batches("flats")[1].mlflow_run else None,
        )
        with pytest.raises(KeyboardInterrupt):
            run_batch(trained, one)
    assert runs(trained)[lost] == "KILLED"
    unrecorded = next(v for v in trained.registry.versions("flats") if v.run_id == lost)
    assert unrecorded.facts.outcome == "not chosen"
    assert "the lab has no record of it" in unrecorded.facts.reason
    assert trained.ledger.model("flats", unrecorded.version) is None

    # The batch is done, its run is still open; and somebody moves an alias.
    now = champion(trained)
    assert now not in (1, unrecorded.version)
    trained.registry.set_alias("flats", CHAMPION, 1)
    monitor(trained, one)
    assert champion(trained) == now
    assert "RUNNING" not in runs(trained).values()
