"""Monitoring of a log that the real service writes: drift, live error, and when a training is requested."""

import itertools
import json
import random
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from inference.log_entries import FeedbackEntry, PredictionEntry
from inference.prediction_log import PredictionLog
from inference.spool import lines
from mlops_lab.contract import RetrainPolicy
from mlops_lab.data.database import connect, now
from mlops_lab.errors import NoChampionError
from mlops_lab.loop import run_batch, train_now
from mlops_lab.model.registry import CHAMPION
from mlops_lab.monitor import monitor
from mlops_lab.status import status
from mlops_lab.steps.decide import decide
from mlops_lab.steps.ingest import finish, land, newest, prepare, validate
from observability.exporter.settings import ExporterSettings
from tests.observability.test_exporter import exported, samples
from tests.support.flats import batch, flats

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

NAMES = ["area", "floor", "district", "balcony", "built"]


class Service:
    """Predicts with the champion and logs as the service does."""

    def __init__(self, lab, folder: Path):
        self.champion = lab.registry.by_alias("flats", CHAMPION)
        self._predictor = lab.predictor(self.champion)
        self._log = lambda: PredictionLog(folder, connect(lab.settings.raw_url), 10**8)

    def serve(self, rows: list[dict], actual=None, group_key=None) -> None:
        """`actual`: the ground truth, as a function of the row's true rent."""
        typed = self._predictor.contract.read([{name: row[name] for name in NAMES} for row in rows])
        found = self._predictor.predict(typed)
        log = self._log()
        log.start()
        for row, clean, value in zip(rows, typed, found.values, strict=True):
            one = f"{now().timestamp() * 1000:012.0f}"[:12] + uuid.uuid4().hex[:20]
            log.add(
                lines(
                    [
                        PredictionEntry(
                            id=one,
                            use_case="flats",
                            version=self.champion.version,
                            run_id=self.champion.run_id,
                            request_id="r",
                            predicted_at=now(),
                            row=clean,
                            prediction=value,
                            probabilities=None,
                        )
                    ]
                ),
                1,
            )
            if actual:
                log.put(
                    FeedbackEntry(
                        id=uuid.uuid4().hex,
                        prediction_id=one,
                        use_case="flats",
                        actual=actual(row["rent"]),
                        group_key=group_key,
                        received_at=now(),
                    )
                )
        log.stop(30)


def rows(n: int, seed: int) -> list[dict]:
    return as_rows(flats(n, seed))


def as_rows(found: list[list]) -> list[dict]:
    return [dict(zip([*NAMES, "rent"], row, strict=True)) for row in found]


def palaces(n: int, seed: int) -> list[dict]:
    """Like `rows`, but with areas three times as large as in the training rows."""
    return [row | {"area": row["area"] * 3} for row in rows(n, seed)]


@pytest.fixture
def service(lab, course, templates, tmp_path):
    templates.copy_trained(lab.settings.home, rows=1500)
    course.will_answer(batch(2, flats(30, seed=8)))
    return Service(lab, tmp_path / "spool")


def report(lab, run_id: str) -> dict:
    return json.loads(Path(lab.registry.client.download_artifacts(run_id, "report.json")).read_text())


def test_drift_of_the_served_rows_requests_one_training_per_batch(lab, use_case, service):
    service.serve(rows(150, seed=1))
    # The bounds are those of the champion's contract, as for the gauge and the alert, not newer ones of the file.
    few = monitor(lab, replace(use_case, retrain=RetrainPolicy(psi=0.0, min_drift_rows=10)))
    assert (few.check.rows, few.drift, few.check.passed) == (150, {}, False)
    assert "from 200 rows on" in few.check.reason

    service.serve(rows(900, seed=2))
    calm = monitor(lab, use_case)
    assert (calm.check.rows, calm.check.passed, calm.check.retrain) == (1050, False, False)
    assert set(calm.drift) == set(NAMES)
    assert max(calm.drift.values()) < 0.1

    again = monitor(lab, use_case).check
    assert again.run_id is None
    assert "nothing was served" in again.reason

    service.serve(palaces(2000, seed=3))
    shifted = monitor(lab, use_case)
    assert shifted.check.passed
    assert shifted.check.retrain
    assert "area has drifted" in shifted.check.reason
    assert shifted.drift["area"] > 1 > 0.1 > shifted.drift["floor"]
    run = lab.registry.client.get_run(shifted.check.run_id)
    assert (run.data.tags["lab.kind"], run.data.tags["lab.outcome"]) == ("monitoring", "retrain")
    assert run.data.metrics["psi.area"] == pytest.approx(shifted.drift["area"])
    assert lab.ledger.last_check("flats") == shifted.check
    told = report(lab, shifted.check.run_id)
    assert told == shifted.as_json() | {name: told[name] for name in ("champion_run", "features")}
    assert (told["feature"], told["psi"]) == ("area", told["drift"]["area"])
    assert sum(told["features"]["area"]["served"]) == pytest.approx(1)
    picture = Path(lab.registry.client.download_artifacts(shifted.check.run_id, "plots/drift.png"))
    assert picture.stat().st_size > 5000

    service.serve(palaces(10, seed=4))
    later = monitor(lab, use_case).check
    assert (later.passed, later.retrain) == (True, False)
    assert "no batch came since" in later.reason

    run_batch(lab, use_case)  # a new batch: there is something new to learn from
    service.serve(palaces(10, seed=5))
    assert monitor(lab, use_case).check.retrain


def test_the_live_error_needs_enough_ground_truth(lab, use_case, service):
    service.serve(rows(60, seed=1), actual=lambda rent: rent)
    few = monitor(lab, use_case).check
    assert (few.labelled, few.live_score, few.passed) == (60, None, False)

    service.serve(rows(400, seed=2), actual=lambda rent: rent)
    champion = lab.predictor(service.champion).contract
    good = monitor(lab, use_case).check
    assert (good.labelled, good.passed) == (460, False)
    assert good.test_score == champion.metrics["test"]["rmse"]

    service.serve(rows(600, seed=3), actual=lambda rent: rent * 1.5)
    bad = monitor(lab, use_case).check
    assert bad.retrain
    assert "rmse is" in bad.reason
    assert "labelled predictions" in bad.reason
    assert bad.live_score > 2 * bad.test_score

    # The next batch says so, too, whether or not the check ran before.
    quiet = replace(use_case, retrain=use_case.retrain.model_copy(update={"new_share": 2.0}))
    entry = land(lab, quiet)
    for step in (validate, prepare):
        step(lab, quiet, entry.id)
    assert "the champion is worse with callers: rmse is" in decide(lab, quiet, entry.id).reason
    run = lab.registry.client.get_run(lab.ledger.batch(entry.id).run)
    assert run.data.metrics["live.rmse"] == pytest.approx(bad.live_score)

    # After a reset versions are counted from 1 again, and the log stays: the run tells them apart.
    with lab.store.raw.begin() as db:
        db.exec_driver_sql("UPDATE predictions SET run_id = 'earlier'")
    service.serve(rows(1, seed=4))
    assert monitor(lab, use_case).check.labelled == 0


def test_one_outlier_requests_no_training(lab, use_case, service):
    # One odd value: more than a third of the resamples don't hold it.
    answered = itertools.count()
    service.serve(rows(400, seed=2), actual=lambda rent: rent * (20 if next(answered) == 7 else 1))
    found = monitor(lab, use_case).check
    assert found.live_score > 1.25 * found.test_score
    assert not found.passed


def test_the_outliers_of_one_group_request_no_training(lab, use_case, service):
    """30 wrong answers about one property: row by row nearly every resample would hold enough of them."""
    service.serve(rows(400, seed=2), actual=lambda rent: rent)
    service.serve(rows(30, seed=3), actual=lambda rent: rent * 2, group_key={"area": 1, "floor": 1})
    found = monitor(lab, use_case).check
    assert found.live_score > 1.25 * found.test_score
    assert not found.passed


def test_rows_that_the_present_version_refuses_are_left_out(lab, use_case, service):
    found = rows(300, seed=1)
    service.serve(found)
    with lab.store.raw.begin() as db:
        db.exec_driver_sql("UPDATE predictions SET row = '{\"old\": 1}' WHERE rowid <= 40")
    assert monitor(lab, use_case).check.rows == 260


def test_without_a_champion_there_is_nothing_to_compare_with(lab, use_case):
    with pytest.raises(NoChampionError, match="no champion yet"):
        monitor(lab, use_case)


def test_a_requested_training_uses_the_stored_rows_and_records_the_reason(lab, use_case, service):
    entry = newest(lab, use_case)
    decide(lab, use_case, entry.id, force=True, why="area has drifted")
    assert lab.ledger.batch(entry.id).reason == "area has drifted"
    finish(lab, use_case, entry.id)
    before = lab.store.count_clean(use_case)
    assert train_now(lab, use_case).outcome is not None
    assert lab.store.count_clean(use_case) == before
    assert len(lab.ledger.batches("flats")) == 1


def noisy(n: int, seed: int, district: str | None = None) -> list[list]:
    """Rents at the harbour can't be told well."""
    chance = random.Random(seed)
    found = flats(3 * n if district else n, seed)
    kept = [row for row in found if district in (None, row[2])][:n]
    return [[*row[:-1], max(1.0, row[-1] + (row[2] == "harbour") * chance.gauss(0, 250))] for row in kept]


def test_the_error_is_estimated_before_the_ground_truth_comes(lab, use_case, course, tmp_path):
    course.will_answer(batch(1, noisy(2400, seed=1)))
    assert run_batch(lab, use_case).outcome.promoted
    service = Service(lab, tmp_path / "spool")
    service.serve(as_rows(noisy(150, seed=2)))
    few = monitor(lab, use_case).check
    assert (few.estimated_score, few.estimated_worse, few.estimate) == (None, None, "")
    service.serve(as_rows(noisy(600, seed=3)))
    calm = monitor(lab, use_case).check
    low, high = lab.predictor(service.champion).contract.evaluation.intervals["rmse"]
    assert (calm.test_low, calm.test_high, calm.estimated_worse) == (low, high, False)
    assert low < calm.estimated_score < high
    assert exported_worse(lab) == 0

    service.serve(as_rows(noisy(2500, seed=4, district="harbour")), actual=lambda rent: rent)
    found = monitor(lab, use_case).check
    assert found.estimated_worse
    assert found.estimated_low > high
    # The feedback says the same.
    assert found.labelled == 2500
    assert found.estimated_score == pytest.approx(found.live_score, rel=0.15)
    assert exported_worse(lab) == 1
    metrics = lab.registry.client.get_run(found.run_id).data.metrics
    assert metrics["estimated.rmse"] == pytest.approx(found.estimated_score)
    assert metrics["test.rmse.high"] == pytest.approx(high)
    said = status(lab, "flats")["estimated"]
    assert said == found.estimate
    assert said.endswith(" on test rows, so it is worse")
    # Harder rows alone are no reason to train: only drift and the live error are.
    assert "estimated" not in found.reason


def exported_worse(lab) -> float:
    page = samples(exported(ExporterSettings(raw_url=str(lab.settings.raw_url))))
    assert ("lab_model_score", "estimated", "flats", "rmse") in page
    return page["lab_estimated_worse", "flats"]
