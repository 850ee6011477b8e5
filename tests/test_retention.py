"""Retention: what is past its time goes, chunk by chunk, and nothing else does."""

import uuid
from datetime import timedelta

import pytest
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from sqlalchemy import insert, select

from mlflow import MlflowClient
from mlops_lab import retention, trace
from mlops_lab.data import old_log
from mlops_lab.data.database import now
from mlops_lab.data.log_tables import Feedback, Prediction, Request, ShadowPrediction
from mlops_lab.data.tables import Check, Promotion
from mlops_lab.errors import LabError, foreign_errors_as_lines
from mlops_lab.loop import run_batch, train_now
from mlops_lab.retention import clean
from mlops_lab.steps import promote
from mlops_lab.steps.attempts import retry
from mlops_lab.steps.ingest import KnownBatchError
from mlops_lab.steps.trial import begin_trial
from tests.support.flats import batch, flats
from tests.support.labs import logged_models

pytestmark = pytest.mark.usefixtures("without_pictures")


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


def test_a_shadows_predictions_go_with_the_champions(lab, logged):
    checked(lab, "flats", days=50)
    old = [logged("flats", 300, feedback=10), logged("flats", 300, feedback=200), logged("flats", 300)]
    common = {"use_case": "flats", "run_id": "r", "prediction": 2.5}
    with lab.store.raw.begin() as db:
        for one, days in ((old[0], 300), (old[1], 300), (old[2], 300), (logged("flats", 1), 1)):
            moment = now() - timedelta(days=days)
            for version in (2, 3):
                entry = {"prediction_id": one, "version": version, "predicted_at": moment}
                db.execute(insert(ShadowPrediction).values(common | entry))
    kinds = {expired.what: expired.found.count for expired in clean(lab)}
    assert kinds == {"values of feedback": 1, "predictions": 2, "shadow predictions": 4}
    with lab.store.raw.connect() as db:
        assert set(db.scalars(select(ShadowPrediction.prediction_id))) == left(lab)[0]


def test_old_requests_go(lab):
    lab.store.create_tables()
    ages = {"a": 91, "b": 89}
    facts = {
        "request_id": "q",
        "use_case": "flats",
        "kind": "predict",
        "status": 422,
        "rows": 0,
        "milliseconds": 1.0,
    }
    entries = [facts | {"id": one, "received_at": now() - timedelta(days=days)} for one, days in ages.items()]
    with lab.store.raw.begin() as db:
        db.execute(insert(Request), entries)
    assert [(expired.what, expired.found.count) for expired in clean(lab)] == [("requests", 1)]
    with lab.store.raw.connect() as db:
        assert list(db.scalars(select(Request.id))) == ["b"]


def test_0_days_keeps_all(lab, logged):
    lab.settings = lab.settings.model_copy(update={"predictions_days": 0})
    kept = {logged("flats", 4000)}
    assert clean(lab) == []
    assert left(lab)[0] == kept


@pytest.fixture
def aged(trained, use_case, course, monkeypatch):
    """The lab after two batches, the second without a training, as `clean` sees it a year later."""
    course.will_answer(batch(2, flats(20)))
    run_batch(trained, use_case)
    moment = now() + timedelta(days=365)
    monkeypatch.setattr(retention, "now", lambda: moment)
    return trained


def versions(lab) -> set[int]:
    return {version.version for version in lab.registry.versions("flats")}


def test_old_payloads_runs_and_versions_go_and_the_lab_works_on(aged, use_case, course):
    champion = aged.ledger.standing("flats").champion
    [loser] = versions(aged) - {champion}
    left_run = aged.registry.version("flats", loser).run_id
    files = aged.settings.mlflow_artifacts / "flats"
    payloads = aged.settings.home / "api-artifacts" / "payloads" / "flats"
    other = payloads / "left-by-a-killed-run.json"
    other.write_bytes(b"{}")
    assert len(list(payloads.iterdir())) == 3

    found = {expired.what: expired for expired in clean(aged, dry_run=True)}
    assert versions(aged) == {champion, loser}
    assert len(list(payloads.iterdir())) == 3
    assert (found["payloads"].found.count, found["runs in MLflow"].found.count) == (2, 1)
    assert found["payloads"].size == sum(path.stat().st_size for path in payloads.iterdir() if path != other)
    assert found["runs in MLflow"].size > 1000

    clean(aged)
    assert versions(aged) == {champion}
    assert aged.tracking._client.get_run(left_run).info.lifecycle_stage == "deleted"
    assert not (files / left_run / "artifacts").exists()
    assert left_run not in {model.source_run_id for model in logged_models(aged)}
    assert list(payloads.iterdir()) == [other]
    assert clean(aged) == []

    other.unlink()
    lines = trace.batch_lines(trace.trace_batch(aged, aged.ledger.batches("flats")[0]))
    assert "deleted on" in lines[-1]
    assert "LAB_PAYLOADS_DAYS" in lines[-1]
    aged.predictor(aged.champion("flats")).check_example()
    # A deleted payload that comes again is known, kept again and deleted again.
    course.will_answer(batch(2, flats(20)))
    with pytest.raises(KnownBatchError):
        run_batch(aged, use_case)
    assert aged.ledger.batches("flats")[1].payload_deleted_at is None
    assert [expired.what for expired in clean(aged)] == ["payloads"]
    # The rows are there, so a training needs no payload.
    assert train_now(aged, use_case).outcome.version > loser


def alias(lab, loser, run_id):
    lab.registry.set_alias("flats", "by-hand", loser)


def prediction(lab, loser, run_id):
    entry = {"id": "0" * 32, "use_case": "flats", "version": loser, "run_id": run_id, "request_id": "q"}
    made = {"predicted_at": now() + timedelta(days=364), "row": {}, "prediction": 1}
    with lab.store.raw.begin() as db:
        db.execute(insert(Prediction).values(entry | made))


def shadow(lab, loser, run_id):
    entry = {"prediction_id": "0" * 32, "version": loser, "use_case": "flats", "run_id": run_id}
    made = {"predicted_at": now() + timedelta(days=364), "prediction": 1}
    with lab.store.raw.begin() as db:
        db.execute(insert(ShadowPrediction).values(entry | made))


def trial(lab, loser, run_id):
    begin_trial(lab, lab.use_case("flats"), loser, None)


def earlier_champion(lab, loser, run_id):
    """The loser was champion before the one of today."""
    champion = lab.ledger.standing("flats").champion
    for sequence, challenger in enumerate((loser, champion), 2):
        lab.ledger.put_promotion(
            Promotion(
                use_case="flats", sequence=sequence, challenger=challenger, outcome="promoted", reason=""
            )
        )


def waits_for_a_person(lab, loser, run_id):
    asked = {"challenger": loser, "outcome": "waiting", "waits_until": now(), "reason": ""}
    lab.ledger.put_promotion(Promotion(use_case="flats", sequence=2, **asked))


def broken_batch(lab, loser, run_id):
    lab.ledger.note(lab.ledger.batches("flats")[0].id, state="broken")


def newest_batch(lab, loser, run_id):
    """The second batch can't be trained on, so a training belongs to the first."""
    lab.ledger.note(lab.ledger.batches("flats")[1].id, state="broken")


def open_run(lab, loser, run_id):
    lab.tracking._client.update_run(run_id, "RUNNING")


def switched_off(lab, loser, run_id):
    lab.settings = lab.settings.model_copy(update={"runs_days": 0})


@pytest.mark.parametrize(
    "need",
    [
        alias,
        prediction,
        shadow,
        trial,
        earlier_champion,
        waits_for_a_person,
        broken_batch,
        newest_batch,
        open_run,
        switched_off,
    ],
)
def test_a_version_that_is_needed_stays(aged, need):
    [loser] = versions(aged) - {aged.ledger.standing("flats").champion}
    need(aged, loser, aged.registry.version("flats", loser).run_id)
    kept = versions(aged)
    assert "runs in MLflow" not in {expired.what for expired in clean(aged)}
    assert versions(aged) == kept
    aged.predictor(aged.registry.version("flats", loser)).check_example()


def test_the_payload_of_a_broken_batch_stays_so_that_retry_works(aged, use_case):
    first = aged.ledger.batches("flats")[0]
    aged.ledger.note(first.id, state="broken")
    clean(aged)
    assert aged.artifacts.size(first.payload) > 0
    retry(aged, use_case)
    run_batch(aged, use_case)
    assert aged.ledger.batches("flats")[0].state == "done"


def test_a_version_that_becomes_champion_while_clean_runs_stays(aged, monkeypatch):
    [loser] = versions(aged) - {aged.ledger.standing("flats").champion}
    found = [expired for expired in clean(aged, dry_run=True) if expired.what == "runs in MLflow"]
    promote.roll_back(aged, aged.use_case("flats"), loser)
    found[0].delete()
    assert loser in versions(aged)


@pytest.mark.fault
@pytest.mark.parametrize("step", ["delete_artifacts", "delete_run"])
def test_a_killed_call_is_finished_by_the_next(aged, monkeypatch, step):
    [loser] = versions(aged) - {aged.ledger.standing("flats").champion}
    run = aged.registry.version("flats", loser).run_id
    owner = LocalArtifactRepository if step == "delete_artifacts" else MlflowClient

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            clean(aged)
    assert [expired.what for expired in clean(aged)] == ["runs in MLflow"]
    assert not (aged.settings.mlflow_artifacts / "flats" / run / "artifacts").exists()
    assert clean(aged) == []


def test_while_mlflow_is_away_the_rest_is_cleaned_and_the_fault_is_said(lab, logged):
    logged("flats", 400)
    (lab.settings.home / "file").touch()
    nowhere = f"sqlite:///{lab.settings.home}/file/mlflow.db"
    lab.settings = lab.settings.model_copy(update={"mlflow_url": nowhere})
    with pytest.raises(LabError), foreign_errors_as_lines():
        clean(lab)
    assert left(lab)[0] == set()
