"""Retention: what is past its time goes, chunk by chunk, and nothing else does."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from mlops_lab.data import old_log
from mlops_lab.data.database import now
from mlops_lab.data.tables import Check, Feedback, Prediction
from mlops_lab.retention import clean


@pytest.fixture
def logged(lab):
    """logged(use_case, age in days, age of its feedback or None) → the prediction's id."""
    lab.store.create_tables()

    def log(use_case: str, days: float, feedback: float | None = None) -> str:
        entry = {
            "id": uuid.uuid4().hex,
            "use_case": use_case,
            "version": 1,
            "run_id": "r",
            "request_id": "q",
            "predicted_at": now() - timedelta(days=days),
            "row": {"area": 1},
            "prediction": 2.5,
        }
        truth = {
            "id": uuid.uuid4().hex,
            "prediction_id": entry["id"],
            "use_case": use_case,
            "actual": 3.0,
            "received_at": now() - timedelta(days=feedback or 0),
        }
        with lab.store.raw.begin() as db:
            db.execute(insert(Prediction), [entry])
            if feedback is not None:
                db.execute(insert(Feedback), [truth])
        return entry["id"]

    return log


def checked(lab, use_case: str, days: float) -> None:
    """A monitoring check that ran so many days ago."""
    lab.ledger.put_check(
        Check(
            use_case=use_case, version=1, rows=0, labelled=0, metric="rmse", passed=False, reason="",
            checked_at=now() - timedelta(days=days),
        )
    )  # fmt: skip


def left(lab) -> tuple[set[str], set[str]]:
    """(ids of the predictions, ids of the predictions that have feedback)."""
    with lab.store.raw.connect() as db:
        return set(db.scalars(select(Prediction.id))), set(db.scalars(select(Feedback.prediction_id)))


def test_old_predictions_and_feedback_go_and_what_no_check_has_seen_stays_longer(lab, logged, monkeypatch):
    monkeypatch.setattr(old_log, "CHUNK", 2)
    said = []
    lab.progress = said.append
    checked(lab, "flats", days=50)
    young = {logged("flats", 1), logged("flats", 89)}
    labelled = {logged("flats", 300, feedback=10)}
    for age in range(91, 98):
        logged("flats", age)
    for age in range(96, 99):
        logged("flats", 200, feedback=age)
    # No check ever ran for these.
    unseen = {logged("unchecked", 200, feedback=100)}
    logged("unchecked", 400, feedback=181)
    everything = left(lab)

    clean(lab, dry_run=True)
    assert left(lab) == everything
    dry, said[:] = list(said), []
    clean(lab)
    assert left(lab) == (young | labelled | unseen, labelled | unseen)
    assert [line.removeprefix("deleted ") for line in said] == [
        line.removeprefix("would delete ") for line in dry
    ]
    assert any("flats: 10 predictions older than 90 days (LAB_PREDICTIONS_DAYS)" in line for line in said)
    assert any("flats: 3 values of feedback" in line for line in said)
    said.clear()
    assert clean(lab) == []
    assert said == ["nothing is past its time"]


def test_a_check_that_ran_before_the_feedback_came_has_not_seen_it(lab, logged):
    checked(lab, "flats", days=120)
    kept = {logged("flats", 130, feedback=100)}
    logged("flats", 140, feedback=125)
    clean(lab)
    assert left(lab) == (kept, kept)


def test_0_days_keeps_all(lab, logged):
    lab.settings = lab.settings.model_copy(update={"predictions_days": 0})
    kept = {logged("flats", 4000)}
    assert clean(lab) == []
    assert left(lab)[0] == kept
