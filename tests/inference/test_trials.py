"""Shadow and canary: a challenger gets live traffic, and whatever it does, no caller of the champion notices."""

import math
import threading

import pytest

from inference import shadow
from mlops_lab.contract import MODEL_FILE
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.trial import Trial
from tests.inference.serving import EXAMPLE, SLACK, Served, reload, served_version, trial_of, under_load
from tests.support import models

KEYS = [f"customer-{number}" for number in range(400)]


@pytest.fixture
def two(lab):
    """(champion, challenger): two versions that predict different prices."""
    return lab.publish("houses"), lab.publish("houses", scale=2.0, champion=False)


def running(kind: str | None, version: int, share: float | None = None) -> dict:
    return {"kind": kind, "version": version, "share": share, "error": None}


def by_key(service: Served, key: str, path: str = "/predict") -> int:
    """The version that answers a request with this key."""
    body = {"/predict": EXAMPLE, "/invocations": {"inputs": [EXAMPLE]}, "/explain": EXAMPLE}[path]
    reply = service.http.post(path, json=body, headers={"X-Request-Key": key})
    assert reply.status_code == 200, reply.text
    return reply.json()["model"]["version"]


def test_a_shadow_predicts_the_same_rows_and_leaves_the_replies_alone(lab, two):
    champion, challenger = two
    service = lab.serve(inference_poll=3600)
    ask = {"json": {"rows": models.raw_rows(20)}, "headers": {"Idempotency-Key": "same-ids"}}
    before = service.http.post("/predict", **ask)
    lab.try_out(challenger, champion)
    reload(service)
    assert trial_of(service) == running("shadow", 2)
    during = service.http.post("/predict", **ask)
    ids = during.json()["prediction_ids"]
    milliseconds = [reply.json().pop("processing_ms") for reply in (before, during)]
    same = [reply.text.replace(f"{ms}", "") for reply, ms in zip((before, during), milliseconds, strict=True)]
    assert same[0] == same[1]
    # Both are logged: what was served in the prediction log, what the shadow predicted beside it.
    logged = service.wait(lambda: len(lab.shadows()) == 20 and {s.prediction_id: s for s in lab.shadows()})
    assert {(p.id, p.version) for p in lab.predictions()} == {(one, 1) for one in ids}
    expected = Predictor.load(lab.built / "houses-2.0").predict(models.raw_rows(20)).values
    assert [logged[one].prediction for one in ids] == expected != during.json()["predictions"]
    facts = {(s.use_case, s.version, s.run_id, s.probabilities) for s in logged.values()}
    assert facts == {("houses", 2, challenger.run_id, None)}
    assert {p.id: p.predicted_at for p in lab.predictions()}.keys() == logged.keys()
    assert service.metric("inference_shadow_rows_total", version="2", result="predicted") == 20
    assert service.metric("inference_shadow_latency_seconds_count", version="2") == 1
    assert service.metric("model_trial_info", version="2", kind="shadow") == 1
    # Only requests of the champion count as requests.
    assert service.metric("inference_requests_total", version="2") == 0

    lab.registry.set_trial("houses", None)
    reload(service)
    assert trial_of(service) is None
    service.predict()
    service.wait(lambda: len(lab.predictions()) == 21)
    assert len(lab.shadows()) == 20


def test_a_shadow_of_a_classifier_logs_its_probabilities(lab):
    champion, challenger = lab.publish("clinic"), lab.publish("clinic", scale=2.0, champion=False)
    lab.try_out(challenger, champion)
    service = lab.serve()
    service.wait(lambda: service.metric("model_trial_info", use_case="clinic") == 1)
    reply = service.predict(use_case="clinic")
    [logged] = service.wait(lab.shadows)
    # The two versions of this model have the same trees.
    assert (logged.prediction, logged.probabilities) == (reply["predictions"][0], reply["probabilities"][0])


def test_a_canary_answers_its_share_of_the_keys_and_always_the_same_ones(lab, two):
    champion, challenger = two
    lab.try_out(challenger, champion, share=0.2)
    service = lab.serve(inference_poll=3600)
    service.wait(lambda: trial_of(service) == running("canary", 2, 0.2))
    arms = {key: by_key(service, key) for key in KEYS}
    assert arms == {key: 2 if Trial(2, 1, 0.2).takes("houses", key.encode()) else 1 for key in KEYS}
    chosen = {key for key, version in arms.items() if version == 2}
    # Four standard deviations of a binomial distribution.
    assert abs(len(chosen) - 80) < 4 * math.sqrt(400 * 0.2 * 0.8)
    for path in ("/invocations", "/explain"):
        assert {key: by_key(service, key, path) for key in KEYS[:40]} == {key: arms[key] for key in KEYS[:40]}
    # Whoever names a version gets that one.
    inputs = [
        {"name": f.name, "datatype": "BYTES", "shape": [1], "data": [str(f.example)]} for f in models.FEATURES
    ]
    for path, version in (("houses", "2"), ("houses/versions/1", "1")):
        headers = {"X-Request-Key": min(chosen)}
        reply = service.http.post(f"/v2/models/{path}/infer", json={"inputs": inputs}, headers=headers)
        assert reply.json()["model_version"] == version
    # Another replica, and another service after a restart, choose the same arms.
    again = lab.serve(inference_poll=3600)
    again.wait(lambda: trial_of(again) == running("canary", 2, 0.2))
    assert {key: by_key(again, key) for key in KEYS[:50]} == {key: arms[key] for key in KEYS[:50]}
    # A greater share keeps the keys of the smaller one.
    lab.try_out(challenger, champion, share=0.5)
    reload(service)
    assert all(by_key(service, key) == 2 for key in chosen)

    served = {v: service.metric("inference_requests_total", version=v, kind="predict") for v in ("1", "2")}
    assert served == {"1": 400 - len(chosen), "2": 2 * len(chosen)}
    for version, count in served.items():
        found = service.metric("inference_request_latency_seconds_count", version=version, kind="predict")
        assert found == count
    logged = service.wait(lambda: len(rows := lab.predictions()) >= 400 + len(chosen) and rows)
    assert {row.version for row in logged} == {1, 2}
    assert lab.shadows() == []


def test_the_idempotency_key_is_a_key_and_requests_without_one_are_shared_out(lab, two):
    champion, challenger = two
    lab.try_out(challenger, champion, share=0.5)
    service = lab.serve(inference_poll=3600)
    service.wait(lambda: trial_of(service) == running("canary", 2, 0.5))

    def version(**headers: str) -> int:
        return service.http.post("/predict", json=EXAMPLE, headers=headers).json()["model"]["version"]

    wanted = {key: by_key(service, key) for key in KEYS[:20]}
    assert set(wanted.values()) == {1, 2}
    assert {key: version(**{"Idempotency-Key": key}) for key in wanted} == wanted
    # X-Request-Key comes first. Of 200 coins, all alike would be no coins.
    assert version(**{"Idempotency-Key": "other", "X-Request-Key": KEYS[0]}) == wanted[KEYS[0]]
    assert {version() for _ in range(200)} == {1, 2}


@pytest.mark.process
def test_thirty_switches_under_load_without_a_failed_request(lab, two):
    champion, challenger = two
    service = lab.start(inference_poll=3600)
    expected = {1: service.predict()["predictions"]}
    lab.promote(challenger)
    reload(service)
    expected[2] = service.predict()["predictions"]
    lab.promote(champion)
    reload(service)

    with under_load(service, expected):
        for turn in range(30):
            kind = ("shadow", "canary", None)[turn % 3]
            if kind:
                lab.try_out(challenger, champion, share=0.5 if kind == "canary" else None)
            else:
                lab.registry.set_trial("houses", None)
            reload(service)
            share = 0.5 if kind == "canary" else None
            assert trial_of(service) == (running(kind, 2, share) if kind else None)
            # Each phase has requests.
            service.predict()
    service.wait(lab.shadows)


@pytest.mark.fault
@pytest.mark.parametrize("share", [None, 0.999999999], ids=["shadow", "canary"])
def test_a_challenger_that_is_not_the_registered_one_gets_no_traffic(lab, two, share, caplog):
    champion, challenger = two
    [graph] = [p for p in lab.home.glob("artifacts/**/" + MODEL_FILE) if challenger.run_id in str(p)]
    graph.write_bytes((lab.built / "houses-1.0" / MODEL_FILE).read_bytes())
    lab.try_out(challenger, champion, share)
    service = lab.serve(inference_poll=3600)
    service.wait(lambda: "changed after registration" in ((trial_of(service) or {}).get("error") or ""))
    for _ in range(3):
        reload(service)
    assert served_version(service) == 1
    assert service.http.get("/ready").status_code == 200
    assert service.metric("model_reload_failing", use_case="houses") == 0
    # It isn't downloaded again at each look, and the log has one line.
    assert service.metric("inference_challenger_failures_total", kind="load") == 1
    assert caplog.text.count("no trial runs") == 1


@pytest.mark.fault
@pytest.mark.parametrize("share", [None, 0.999999999], ids=["shadow", "canary"])
def test_a_challenger_that_fails_on_a_request_costs_no_caller_a_reply(lab, share, caplog):
    champion, folder = lab.publish("houses"), lab.home / "fragile"
    models.build(folder)
    models.make_fragile(folder)
    lab.try_out(lab.register(folder), champion, share)
    service = lab.serve(inference_poll=3600)
    service.wait(lambda: (trial_of(service) or {}).get("error", "") is None)
    kind = "shadow" if share is None else "canary"

    large = [service.predict(EXAMPLE | {"area": 1500}) for _ in range(3)]
    assert {reply["model"]["version"] for reply in large} == {1}
    failed = {"kind": kind, "use_case": "houses"}
    service.wait(lambda: service.metric("inference_challenger_failures_total", **failed) == 3)
    assert caplog.text.count("can't predict as a") == 1
    assert service.metric("inference_requests_total", status="500") == 0
    # What is wrong with the request itself is the request's fault, and is refused as always.
    assert service.http.post("/predict", json={"area": 1}).status_code == 422
    assert service.metric("inference_challenger_failures_total", **failed) == 3
    # The next request of a usual size reaches the challenger.
    small = service.predict(EXAMPLE)
    if share is None:
        service.wait(lambda: [s.prediction_id for s in lab.shadows()] == small["prediction_ids"])
        assert service.metric("inference_shadow_rows_total", result="failed") == 3
    else:
        assert small["model"]["version"] == 2
    logged = service.wait(lambda: len(rows := lab.predictions()) == 4 and rows)
    assert [row.version for row in logged] == [1, 1, 1, small["model"]["version"]]
    # A start without the database serves the champion that the database confirmed, whatever was tried.
    away = lab.serve(inference_poll=3600, raw_db_url=f"sqlite:///{lab.home}/nowhere/RawData.db")
    assert served_version(away) == 1


@pytest.mark.fault
def test_a_slow_shadow_drops_rows_and_keeps_nobody_waiting(lab, two, monkeypatch):
    monkeypatch.setattr(shadow, "MAX_WAITING", 10)
    champion, challenger = two
    lab.try_out(challenger, champion)
    service = lab.serve(inference_poll=3600)
    service.wait(lambda: trial_of(service) == running("shadow", 2))
    go_on, original = threading.Event(), Predictor.predict_encoded
    champions = Predictor.load(lab.built / "houses-1.0").predict([EXAMPLE]).values

    def slow(predictor: Predictor, matrix):
        found = original(predictor, matrix)
        assert found.values == champions or go_on.wait(SLACK)
        return found

    monkeypatch.setattr(Predictor, "predict_encoded", slow)
    made = [service.predict()["prediction_ids"][0] for _ in range(30)]
    # The champion has answered every one, and the shadow none.
    assert service.metric("inference_shadow_rows_total", result="dropped") == 20
    assert lab.shadows() == []
    go_on.set()
    service.wait(lambda: [s.prediction_id for s in lab.shadows()] == made[:10])
    # Then there is room again, also for one request that is larger than the room.
    many = service.http.post("/predict", json={"rows": models.raw_rows(25)}).json()["prediction_ids"]
    service.wait(lambda: {s.prediction_id for s in lab.shadows()} == {*made[:10], *many})


def test_a_trial_ends_in_every_way_and_can_begin_again(lab, two):
    champion, challenger = two
    third = lab.publish("houses", scale=3.0, champion=False)
    service = lab.serve(inference_poll=3600)
    client = lab.registry.client
    ends = {
        "the tag is gone": (lambda: lab.registry.set_trial("houses", None), 1, None),
        "the tag can't be read": (
            lambda: client.set_registered_model_tag("houses", "lab.trial", "canary 2"),
            1,
            "is neither `shadow 7 against 3`",
        ),
        "another champion": (lambda: lab.promote(third), 3, "against version 1, version 3 is served"),
        "it is champion": (lambda: lab.promote(challenger), 2, "against version 1, version 2 is served"),
        "it is deleted": (lambda: client.delete_model_version("houses", "2"), 1, "houses has no version 2"),
    }
    for name, (end, answers, why) in ends.items():
        lab.promote(champion)
        lab.try_out(challenger, champion, share=0.999999999)
        reload(service)
        assert (trial_of(service), served_version(service)) == (running("canary", 2, 0.999999999), 2), name
        end()
        reload(service)
        found = trial_of(service)
        assert why in found["error"] if why else found is None, name
        assert served_version(service) == answers, name
        assert service.metric("model_trial_info") == 0


def test_the_series_of_the_champion_stay_however_many_challengers_are_tried(lab, two):
    champion, _ = two
    service = lab.serve(inference_poll=3600)
    service.predict()
    for number in range(6):
        challenger = lab.publish("houses", scale=2.0, champion=False)
        lab.try_out(challenger, champion, share=0.999999999)
        reload(service)
        assert served_version(service) == challenger.version == number + 3
    assert service.metric("inference_requests_total", version="1") == 1
    # The oldest challengers are forgotten, with all their series.
    kept = [
        v for v in range(3, 9) if service.metric("inference_request_latency_seconds_count", version=str(v))
    ]
    assert kept == [5, 6, 7, 8]
    # Of the files only those of the two that serve stay.
    assert sorted(p.name for p in (lab.home / "serving").glob("houses-*")) == ["houses-1", "houses-8"]
