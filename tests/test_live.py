"""Live scores by arm: what callers were answered, what a shadow would have answered, and what the promotion reads."""

import math

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from inference.app import create_app
from inference.settings import InferenceSettings
from mlops_lab.data.log_tables import Feedback, Prediction, ShadowPrediction
from mlops_lab.errors import ModelError
from mlops_lab.model.trial import Trial
from mlops_lab.monitor import monitor
from mlops_lab.status import status
from mlops_lab.steps.challenge import Person
from mlops_lab.steps.promote import promote_by_hand, roll_back
from mlops_lab.steps.trial import begin_trial
from observability.exporter.settings import ExporterSettings
from tests.inference.serving import Served
from tests.observability.test_exporter import exported, samples
from tests.support.flats import flats

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

NAMES = ["area", "floor", "district", "balcony", "built"]


class Callers:
    """The real service on the trained lab, and callers that send feedback."""

    def __init__(self, lab, client):
        self.lab = lab
        self.service = Served(client)

    def follow(self, trial: Trial) -> None:
        """Waits until the service follows the trial."""
        self.service.wait(
            lambda: self.service.metric("model_trial_info", kind=trial.kind, version=str(trial.version))
        )

    def ask(self, n: int, seed: int, key: str = "", actual=None) -> dict:
        """Predicts n rows in one request; `actual`: the ground truth of a prediction's id and value."""
        rows = [dict(zip(NAMES, row, strict=False)) for row in flats(n, seed)]
        headers = {"X-Request-Key": key} if key else {}
        reply = self.service.http.post("/predict/flats", json={"rows": rows}, headers=headers)
        assert reply.status_code == 200, reply.text
        body = reply.json()
        if actual:
            for one, value in zip(body["prediction_ids"], body["predictions"], strict=True):
                sent = {"use_case": "flats", "prediction_id": one, "actual": actual(one, value)}
                assert self.service.http.post("/feedback", json=sent).status_code == 202
        return body

    def stored(self, table, n: int) -> list:
        """The rows of a table of the log, once there are so many."""

        def rows() -> list:
            with self.lab.store.raw.connect() as db:
                return list(db.execute(select(table)))

        return self.service.wait(lambda: len(found := rows()) >= n and found)


@pytest.fixture
def callers(trained):
    settings = InferenceSettings(
        home=trained.settings.home, default_use_case="flats", inference_poll=0.1, verify_keys=None
    )
    with TestClient(create_app(settings)) as client:
        found = Callers(trained, client)
        found.service.wait(lambda: client.get("/ready").status_code == 200)
        yield found


def rmse(pairs: list[tuple[float, float]]) -> float:
    return math.sqrt(sum((actual - value) ** 2 for actual, value in pairs) / len(pairs))


def test_the_live_error_of_each_arm_is_what_a_person_computes(trained, use_case, callers, two):
    champion, challenger = two
    shadow = begin_trial(trained, use_case, challenger, None)
    callers.follow(shadow)
    # The ground truth differs from the prediction by 3 and by 5 in turn.
    signs = iter(range(10**6))
    callers.ask(120, seed=1, actual=lambda _, value: value + (3 if next(signs) % 2 else -5))
    callers.ask(40, seed=2)
    shadows = {row.prediction_id: row.prediction for row in callers.stored(ShadowPrediction, 160)}
    truth = {row.prediction_id: row.actual for row in callers.stored(Feedback, 120)}
    by_hand = rmse([(truth[one], value) for one, value in shadows.items() if one in truth])
    callers.stored(Prediction, 160)

    found = monitor(trained, use_case)
    scores = {(score.version, score.arm): score for score in found.live}
    assert scores.keys() == {(champion, "champion"), (challenger, "shadow")}
    assert scores[champion, "champion"].score == pytest.approx(math.sqrt((9 + 25) / 2))
    assert scores[champion, "champion"].score == found.check.live_score
    assert scores[challenger, "shadow"].score == pytest.approx(by_hand)
    assert {score.labelled for score in found.live} == {120}
    # A shadow's rows are no rows that were served.
    assert found.check.rows == 160

    canary = begin_trial(trained, use_case, challenger, 0.5)
    callers.follow(canary)
    keys = [f"user-{number}" for number in range(40)]
    mine = [key for key in keys if canary.takes("flats", key.encode())][:4]
    theirs = [key for key in keys if not canary.takes("flats", key.encode())][:4]
    for number, key in enumerate((*mine, *theirs)):
        error = 7 if key in mine else 2
        # The fourth of each arm brings no ground truth, so the challenger has 90 of its own.
        actual = None if number % 4 == 3 else lambda _, value, error=error: value + error
        body = callers.ask(30, seed=10 + number, key=key, actual=actual)
        assert body["model"]["version"] == (challenger if key in mine else champion)
    callers.stored(Feedback, 120 + 180)
    callers.stored(Prediction, 160 + 240)
    scores = {(score.version, score.arm): score for score in monitor(trained, use_case).live}
    labelled = {key: score.labelled for key, score in scores.items()}
    assert labelled == {(champion, "champion"): 210, (challenger, "canary"): 90, (challenger, "shadow"): 120}
    assert scores[challenger, "canary"].score is None, "too few"
    both = math.sqrt((120 * 17 + 90 * 4) / 210)
    assert scores[champion, "champion"].score == pytest.approx(both)
    callers.ask(30, seed=30, key=mine[0], actual=lambda _, value: value + 7)
    callers.stored(Feedback, 330)
    # Feedback is on its way at once, predictions within half a second.
    callers.stored(Prediction, 430)
    last = {(score.version, score.arm): score for score in monitor(trained, use_case).live}
    assert last[challenger, "canary"].score == pytest.approx(7, abs=0.01)

    # The service, the exporter and the reports say the same.
    told = callers.service.http.get("/models/flats/live").json()
    assert told["use_case"] == "flats"
    assert {(s["version"], s["arm"]): (s["score"], s["labelled"]) for s in told["live"]} == {
        key: (score.score, score.labelled) for key, score in last.items()
    }
    page = samples(exported(ExporterSettings(raw_url=str(trained.settings.raw_url))))
    for (version, arm), score in last.items():
        assert page["lab_live_score", *sorted([arm, "flats", "rmse", str(version)])] == score.score
        assert page["lab_live_labelled", *sorted([arm, "flats", str(version)])] == score.labelled
    entry = status(trained, "flats")
    assert entry["trial"] == str(canary)
    assert {(s["version"], s["arm"], s["score"]) for s in entry["live"]} == {
        (*key, score.score) for key, score in last.items()
    }


def test_a_challenger_that_is_worse_with_callers_is_not_promoted(
    trained, use_case, callers, two, monkeypatch
):
    champion, challenger = two
    kept = []
    monkeypatch.setattr(trained.tracking, "log_json", lambda *evidence: kept.append(evidence))
    trial = begin_trial(trained, use_case, challenger, None)
    callers.follow(trial)
    # Callers get from the champion what they need; the challenger would have been wrong.
    callers.ask(150, seed=1, actual=lambda _, value: value)
    callers.stored(ShadowPrediction, 150)
    callers.stored(Feedback, 150)
    refused = promote_by_hand(trained, use_case, challenger)
    assert not refused.promoted
    assert refused.reason.startswith("worse with callers: live as shadow rmse ")
    assert "on the same 150 labelled predictions (better or equal: rmse " in refused.reason
    row = trained.ledger.promotions("flats")[-1]
    assert (row.challenger, row.outcome, row.reason) == (challenger, "refused", refused.reason)
    assert row.challenger_score <= row.champion_score
    assert trained.registry.version("flats", challenger).facts.outcome == "refused"
    [(run, file, found)] = kept
    assert run == trained.registry.version("flats", challenger).run_id
    assert file == f"promotion-{row.sequence}.json"
    assert (found["challenger"], found["champion"]) == (challenger, champion)
    [live] = found["live"]
    assert (live["arm"], live["worse"], live["champion_score"]) == ("shadow", True, 0)
    assert trained.ledger.standing("flats").champion == champion

    with pytest.raises(ModelError, match="of flats is the champion already"):
        promote_by_hand(trained, use_case, champion)
    with pytest.raises(ModelError, match="flats has no version 77"):
        promote_by_hand(trained, use_case, 77)

    forced = promote_by_hand(trained, use_case, challenger, Person("eva", "the feedback was wrong"))
    assert forced.promoted
    said = "forced by eva: the feedback was wrong; the comparison: worse with callers"
    assert forced.reason.startswith(said)
    assert trained.ledger.standing("flats").champion == challenger
    row = trained.ledger.promotions("flats")[-1]
    assert (row.reason, row.decided_by) == (forced.reason, "eva")
    # The trial against the champion before is over, and the service follows.
    assert trained.registry.registered("flats").facts.trial == ""
    callers.service.wait(lambda: callers.ask(1, seed=5)["model"]["version"] == challenger)


def test_a_challenger_that_is_better_with_callers_is_promoted(trained, use_case, callers, two):
    _, challenger = two
    canary = begin_trial(trained, use_case, challenger, 0.5)
    callers.follow(canary)
    keys = [f"user-{number}" for number in range(40)]
    mine = next(key for key in keys if canary.takes("flats", key.encode()))
    theirs = next(key for key in keys if not canary.takes("flats", key.encode()))
    # Both are wrong by as much. The champion's rows before and after the canary's are of another time, and worse.
    wrong = {key: iter([4.0, -6.0] * 500) for key in (mine, theirs)}
    for number, (key, n, more) in enumerate(
        [(theirs, 60, 50), (mine, 60, 0), (theirs, 120, 0), (mine, 60, 0), (theirs, 60, 50)]
    ):
        callers.ask(n, number, key, lambda _, value, key=key, more=more: value + next(wrong[key]) + more)
    callers.stored(Feedback, 360)
    callers.stored(Prediction, 360)
    found = promote_by_hand(trained, use_case, challenger)
    assert found.promoted
    assert "live as canary rmse 5.099 against 5.099 on 120 and 120 labelled predictions" in found.reason


def test_a_forced_promotion_says_why(trained, use_case, two):
    champion, challenger = two
    roll_back(trained, use_case, challenger)
    # The other one is worse on the test rows.
    refused = promote_by_hand(trained, use_case, champion)
    assert "not better: rmse" in refused.reason
    assert promote_by_hand(trained, use_case, champion, Person("eva", "we need it")).promoted
    assert trained.ledger.standing("flats").champion == champion
