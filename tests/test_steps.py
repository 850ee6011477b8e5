"""The loop through its steps: rows, decisions, promotions. After a fault nothing is lost or stored twice."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from mlops_lab import loop
from mlops_lab.data.database import now
from mlops_lab.data.payload import BatchShapeError
from mlops_lab.data.rows import rows as plain_rows
from mlops_lab.data.source import EndOfDataError, SourceError
from mlops_lab.data.split import SHARES
from mlops_lab.data.tables import LiveScore
from mlops_lab.errors import ModelError
from mlops_lab.loop import run_batch, train_now
from mlops_lab.model.judge import judge
from mlops_lab.model.registry import CHAMPION, PREVIOUS
from mlops_lab.model.row_scores import RowScores
from mlops_lab.monitor import monitor
from mlops_lab.rollout import RolloutError
from mlops_lab.steps.ingest import KnownBatchError, land, prepare, reset, validate
from mlops_lab.steps.promote import roll_back
from tests.support.data_api import END
from tests.support.flats import batch, flats, read, splits
from tests.support.labs import logged_models

pytestmark = pytest.mark.usefixtures("without_pictures")


def count(lab, table: str) -> int:
    engine = lab.store.clean if table.endswith("_clean") else lab.store.raw
    with engine.connect() as db:
        return db.scalar(text(f"SELECT COUNT(*) FROM {table}"))


def run_of(lab, run_id):
    return lab.registry.client.get_run(run_id)


def test_a_batch_becomes_rows_in_both_databases_and_a_champion(trained, use_case):
    lab = trained
    entry = lab.ledger.batches("flats")[0]
    assert (entry.state, entry.received, entry.stored, entry.clean, entry.decision) == (
        "done",
        600,
        600,
        600,
        "train",
    )
    assert count(lab, "flats_raw") == count(lab, "flats_clean") == 600
    splits = [count(lab, f"flats_{split}") for split, _ in SHARES]
    assert sum(splits) == 600
    assert all(splits)
    champion = lab.registry.by_alias("flats", CHAMPION)
    contract = lab.predictor(champion).contract
    assert contract.metrics["test"]["rmse"] < 0.5 * contract.baseline["test"]["rmse"]


def test_a_model_leads_to_its_run_its_batches_and_their_payloads(trained):
    lab = trained
    champion = lab.registry.by_alias("flats", CHAMPION)
    lineage = lab.predictor(champion).contract.lineage
    assert lineage.run_id == champion.run_id
    assert run_of(lab, lineage.run_id).inputs.dataset_inputs[0].dataset.name == "flats-batch-1"
    entry = lab.ledger.batch(lineage.batches[0])
    payload = json.loads(lab.artifacts.get(entry.payload))
    assert payload["batch_number"] == 1
    assert len(payload["data"]) == 600


def test_the_same_payload_twice_is_one_batch(trained, use_case, course):
    course.will_answer(batch(1, flats(600)), END)
    with pytest.raises(KnownBatchError, match="batch 1 was received before"):
        run_batch(trained, use_case)
    assert len(trained.ledger.batches("flats")) == 1
    assert count(trained, "flats_raw") == 600


def test_known_rows_in_a_new_batch_are_raw_rows_twice_and_clean_rows_once(trained, use_case, course):
    course.will_answer(batch(2, flats(600)), END)
    result = run_batch(trained, use_case)
    entry = trained.ledger.batches("flats")[1]
    assert (entry.stored, entry.clean, entry.duplicates) == (600, 0, 600)
    assert result.outcome is None
    assert "0% of its groups are new" in result.reason
    assert result.more


def test_a_group_is_in_one_split_only(trained, use_case, course):
    relisted = [[*row[:-1], row[-1] + 50] for row in flats(600)]
    course.will_answer(batch(2, relisted), END)
    run_batch(trained, use_case)
    with trained.store.clean.connect() as db:
        assert db.scalar(text("SELECT COUNT(*) FROM flats_clean")) == 1200
        splits = db.execute(
            text("SELECT COUNT(DISTINCT split) FROM flats_clean GROUP BY group_hash")
        ).scalars()
        assert set(splits) == {1}


def test_bad_rows_go_to_quarantine_and_good_ones_are_stored(lab, use_case, course):
    rows = flats(300)
    rows[7][0], rows[9] = "wide", [1, 2]
    course.will_answer(batch(1, rows), END)
    steps: list[tuple[str, int, int]] = []
    lab.step = lambda *step: steps.append(step)
    run_batch(lab, use_case)
    assert ("batch 1: training 2 of 2, " + use_case.candidates[1].name, 5, 8) in steps
    assert [done for _, done, of in steps if of == 8] == list(range(8))
    entry = lab.ledger.batches("flats")[0]
    assert (entry.received, entry.stored, entry.quarantined) == (300, 298, 2)
    with lab.store.raw.connect() as db:
        found = db.execute(
            text("SELECT row_index, rule, row_json FROM flats_quarantine ORDER BY row_index")
        ).all()
    assert [(row, rule) for row, rule, _ in found] == [(7, "type"), (9, "shape")]
    assert json.loads(found[0][2])["area"] == "wide"
    assert json.loads(found[1][2]) == [1, 2]
    table = Path(lab.registry.client.download_artifacts(entry.mlflow_run, "quarantine.json"))
    assert {record["column"] for record in json.loads(table.read_text())} == {"area", "(row)"}


@pytest.mark.fault
def test_a_broken_payload_is_kept_and_named_and_the_next_batch_follows(trained, use_case, course):
    course.will_answer((200, b"<html>busy</html>"), batch(2, flats(50, seed=5)), END)
    with pytest.raises(BatchShapeError, match=r"isn't JSON.*the payload is kept as payloads/flats/"):
        run_batch(trained, use_case)
    broken = trained.ledger.batches("flats")[1]
    assert broken.state == "broken"
    assert [(check["name"], check["outcome"]) for check in broken.checks] == [("schema", "fail")]
    assert trained.artifacts.get(broken.payload) == b"<html>busy</html>"
    run_batch(trained, use_case)
    assert trained.ledger.batches("flats")[2].stored == 50


def test_a_gap_in_the_numbers_is_recorded(trained, use_case, course):
    course.will_answer(batch(4, flats(50, seed=5)), END)
    run_batch(trained, use_case)
    assert trained.ledger.batches("flats")[1].gap == 2
    assert run_of(trained, trained.ledger.batches("flats")[1].mlflow_run).data.metrics["gap"] == 2


def test_the_end_of_the_data_and_an_unreachable_server_change_nothing(trained, use_case, course, monkeypatch):
    course.will_answer(END)
    with pytest.raises(EndOfDataError, match="all batches are out"):
        run_batch(trained, use_case)
    monkeypatch.setattr("mlops_lab.data.source.time.sleep", lambda _: None)
    course.will_answer((503, {}))
    with pytest.raises(SourceError):
        run_batch(trained, use_case)
    assert len(trained.ledger.batches("flats")) == 1


@pytest.mark.fault
@pytest.mark.parametrize("step", ["land", "validate", "prepare", "decide", "train", "promote", "finish"])
def test_a_run_killed_after_any_step_is_finished_by_the_next_one(lab, use_case, course, monkeypatch, step):
    course.will_answer(batch(1, flats(300)), END)
    original = getattr(loop, step)

    def killed(*args, **kwargs):
        original(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, step, killed)
        with pytest.raises(KeyboardInterrupt):
            run_batch(lab, use_case)
    if step == "finish":
        with pytest.raises(EndOfDataError):
            run_batch(lab, use_case)
    else:
        run_batch(lab, use_case)
    assert [(b.state, b.stored, b.clean) for b in lab.ledger.batches("flats")] == [("done", 300, 300)]
    assert count(lab, "flats_raw") == count(lab, "flats_clean") == 300
    assert lab.registry.by_alias("flats", CHAMPION) is not None
    assert len([row for row in lab.ledger.promotions("flats") if row.outcome == "promoted"]) == 1


def test_prepare_reads_raw_data_and_needs_no_payload(lab, use_case, course):
    course.will_answer(batch(1, flats(300)), END)
    entry = land(lab, use_case)
    validate(lab, use_case, entry.id)
    lab.artifacts.delete("payloads/flats")
    prepare(lab, use_case, entry.id)
    assert lab.ledger.batch(entry.id).state == "prepared"
    clean = lab.snapshots.read(use_case)
    assert count(lab, "flats_clean") == lab.ledger.batch(entry.id).clean == 300
    rows = read(flats(300))
    assert clean["area"].tolist() == [row[0] for row in rows]
    assert clean["balcony"].astype(bool).tolist() == [row[3] for row in rows]


def test_a_payload_that_reached_the_bucket_but_not_the_ledger_is_found_again(
    lab, use_case, course, monkeypatch
):
    course.will_answer(batch(1, flats(300)), END)
    with monkeypatch.context() as patch:
        patch.setattr(lab.ledger, "land", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run_batch(lab, use_case)
    assert lab.ledger.batches("flats") == []
    run_batch(lab, use_case)
    assert [(b.batch_number, b.stored) for b in lab.ledger.batches("flats")] == [(1, 300)]


@pytest.mark.parametrize(
    ("rows", "reason", "least", "most"),
    [
        (flats(300, seed=1), "% of the batch's groups are new to the champion", 0.86, 0.94),
        # Of the same flats, with and without a balcony for the same rent.
        ([[*row[:3], not row[3], *row[4:]] for row in flats(600)][:40], None, 0.5, 0.85),
        (flats(600)[:500] + flats(250, seed=2, level=40), "target's spread changed", 0, 0.02),
    ],
)
def test_the_policy_decides_by_new_groups_and_drift(trained, use_case, course, rows, reason, least, most):
    """`least`, `most`: the share of the batch's new rows that the champion's intervals cover."""
    course.will_answer(batch(2, rows), END)
    result = run_batch(trained, use_case)
    if reason is None:
        assert result.outcome is None
        assert "nothing drifted" in result.reason
    else:
        assert reason in trained.ledger.batches("flats")[1].reason
    measured = run_of(trained, trained.ledger.batches("flats")[1].run).data.metrics
    assert measured["interval_level"] == 0.9
    assert least <= measured["interval_coverage"] <= most


def test_a_challenger_that_is_not_better_is_refused_and_the_scores_are_recorded(trained, use_case, course):
    champion = trained.registry.by_alias("flats", CHAMPION).version
    # Only training rows have wrong prices: the challenger learns them, the holdout rows are right.
    rows = flats(400, seed=3)
    spoilt = [
        [*row[:-1], 6000 - 30 * row[0]]
        for row, split in zip(rows, splits(rows), strict=True)
        if split == "train"
    ]
    course.will_answer(batch(2, spoilt), END)
    assert not run_batch(trained, use_case).outcome.promoted
    decision = trained.ledger.promotions("flats")[-1]
    assert trained.registry.by_alias("flats", CHAMPION).version == champion
    assert decision.outcome == "refused"
    assert decision.challenger_score > decision.champion_score
    assert (
        decision.interval_low <= decision.champion_score - decision.challenger_score <= decision.interval_high
    )
    assert "not better" in trained.registry.version("flats", decision.challenger).facts.reason
    # The stored scores of the rows give the same verdict again.
    kept = RowScores.from_parquet(trained.tracking.read_bytes(*decision.evidence.split("/")))
    again = judge(use_case.promotion, use_case.metric, kept)
    assert (again.reason, again.sureness) == (decision.reason, decision.sureness)
    assert len(kept.truth) == decision.holdout_rows


def test_a_small_holdout_promotes_a_first_champion_and_nothing_else(lab, use_case, course):
    course.will_answer(batch(1, flats(60)), batch(2, flats(10, seed=9)), END)
    assert run_batch(lab, use_case).outcome.promoted
    outcome = run_batch(lab, use_case).outcome
    assert not outcome.promoted
    assert "test rows; 20 are needed" in outcome.reason


@pytest.mark.fault
def test_of_two_promotions_at_once_the_second_compares_again(trained, use_case, monkeypatch):
    before = trained.registry.by_alias("flats", CHAMPION).version
    original = trained.ledger.put_promotion
    lost = []

    def overtaken(decision):
        if not lost:  # another process records its decision first
            lost.append(decision.sequence)
            assert original(replace(decision, challenger=before, outcome="promoted"))
        return original(decision)

    monkeypatch.setattr(trained.ledger, "put_promotion", overtaken)
    train_now(trained, use_case)
    history = trained.ledger.promotions("flats")
    assert [row.sequence for row in history] == [1, 2, 3]
    assert history[2].challenger != before
    assert trained.registry.by_alias("flats", CHAMPION).version == history[2].challenger


@pytest.mark.fault
def test_a_failed_rollout_makes_the_previous_version_champion_again(trained, use_case, course, monkeypatch):
    first = trained.registry.by_alias("flats", CHAMPION).version
    unreachable = trained.settings.model_copy(
        update={"inference_url": "http://127.0.0.1:9", "rollout_timeout": 0.1}
    )
    course.will_answer(batch(2, flats(600, seed=4)), END)
    trained.settings = unreachable
    with pytest.raises(RolloutError, match=rf"can't be reached.*again version {first}"):
        run_batch(trained, use_case)
    assert trained.registry.by_alias("flats", CHAMPION).version == first
    assert trained.ledger.promotions("flats")[-1].outcome == "rolled back"


def test_a_roll_back_by_hand_is_recorded(trained, use_case, course):
    first = trained.registry.by_alias("flats", CHAMPION).version
    course.will_answer(batch(2, flats(600, seed=4)), END)
    assert run_batch(trained, use_case).outcome.promoted
    assert trained.registry.by_alias("flats", PREVIOUS).version == first
    assert roll_back(trained, use_case) == first
    assert trained.registry.by_alias("flats", CHAMPION).version == first
    assert trained.ledger.promotions("flats")[-1].outcome == "rolled back"
    with pytest.raises(ModelError, match="is the champion already"):
        roll_back(trained, use_case)


def test_reset_leaves_nothing_of_the_use_case(trained, use_case, course):
    course.will_answer((200, {"ok": True}))
    monitor(trained, use_case)
    score = {"version": 1, "arm": "champion", "run_id": "r", "metric": "rmse", "labelled": 1, "score": None}
    trained.ledger.put_live_scores("flats", [LiveScore(use_case="flats", checked_at=now(), **score)])
    reset(trained, use_case)
    assert trained.ledger.last_check("flats") is None
    assert trained.ledger.live_scores("flats") == []
    assert course.asked[-1].startswith("/restart_data_generation")
    assert trained.ledger.batches("flats") == []
    assert trained.artifacts.list("snapshots/flats") == []
    assert trained.registry.versions("flats") == []
    assert logged_models(trained) == []
    course.will_answer(batch(1, flats(300)), END)
    assert run_batch(trained, use_case).outcome.promoted


def test_a_raw_row_posted_as_it_came_predicts_what_the_pipeline_predicts(trained, use_case):
    predictor = trained.predictor(trained.registry.by_alias("flats", CHAMPION))
    names = [feature.name for feature in use_case.features]
    clean = trained.snapshots.read(use_case)
    pipeline = predictor.run(predictor.contract.encode(plain_rows(clean[names])))
    raw = [dict(zip(names, row[:-1], strict=True)) for row in read(flats(600))]
    texts = [{name: str(value) for name, value in row.items()} for row in raw]
    np.testing.assert_allclose(predictor.predict(raw).values, pipeline, rtol=1e-6)
    np.testing.assert_allclose(predictor.predict(texts).values, pipeline, rtol=1e-6)
