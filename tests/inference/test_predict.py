"""Prediction over HTTP: replies, and each kind of wrong request."""

import json

import pytest

from mlops_lab.model.predictor import Predictor
from tests.inference.serving import EXAMPLE
from tests.support import models


def _model(shared, use_case: str) -> Predictor:
    return Predictor.load(shared.built / f"{use_case}-1.0")


def test_one_row(service, shared):
    reply = service.predict()
    assert reply["model"] == {"name": "houses", "version": 1}
    assert reply["predictions"] == _model(shared, "houses").predict([EXAMPLE]).values
    assert len(reply["prediction_ids"][0]) == 32
    assert "probabilities" not in reply


def test_batches_small_and_large_equal_the_model(service, shared):
    # On the event loop, and in a thread.
    for n in (2, 300):
        rows = models.raw_rows(n, seed=n)
        reply = service.http.post("/predict/houses", json={"rows": rows}).json()
        assert reply["predictions"] == pytest.approx(_model(shared, "houses").predict(rows).values, rel=1e-6)
        assert len(set(reply["prediction_ids"])) == n
        assert reply["prediction_ids"] == sorted(reply["prediction_ids"], key=lambda i: i[:12])


def test_default_use_case(service):
    assert service.http.post("/predict", json=EXAMPLE).json()["model"]["name"] == "houses"


def test_binary_reply_follows_the_contracts_threshold(service):
    rows = models.raw_rows(60, seed=5)
    reply = service.http.post("/predict/clinic", json={"rows": rows}).json()
    assert reply["threshold"] == 0.3
    for prediction, probabilities in zip(reply["predictions"], reply["probabilities"], strict=True):
        assert prediction is (probabilities["true"] >= 0.3)
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert {True, False} == set(reply["predictions"])


def test_multiclass_reply_is_the_most_probable_class(service):
    reply = service.http.post("/predict/forest", json={"rows": models.raw_rows(60, seed=6)}).json()
    for prediction, probabilities in zip(reply["predictions"], reply["probabilities"], strict=True):
        assert prediction == max(probabilities, key=probabilities.get)
    assert set(reply["predictions"]) == {"pine", "fir", "aspen"}


def test_values_are_read_as_the_pipeline_reads_them(service):
    texts = EXAMPLE | {"area": "120.5", "rooms": "3.0", "garden": "yes", "sold": "2024-01-31T10:00:00"}
    assert service.predict(texts)["predictions"] == service.predict()["predictions"]
    missing = EXAMPLE | {"area": "?"}
    assert service.predict(missing)["predictions"] == service.predict(EXAMPLE | {"area": None})["predictions"]


def test_an_unknown_value_of_an_open_category_is_accepted_and_counted(service):
    def unknown() -> float:
        return service.metric("feature_unknown_values_total", use_case="houses", feature="state")

    before = unknown()
    service.predict(EXAMPLE | {"state": "Atlantis"})
    assert unknown() == before + 1


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"area": ...}, "area", "missing"),
        ({"rooms": None}, "rooms", "missing"),
        ({"colour": "red"}, "colour", "unknown"),
        ({"area": "wide"}, "area", "type"),
        ({"area": [1]}, "area", "type"),
        ({"area": {"a": 1}}, "area", "type"),
        ({"area": True}, "area", "type"),
        ({"area": 4}, "area", "minimum"),
        ({"area": 2000.1}, "area", "maximum"),
        ({"area": 1e300}, "area", "type"),
        ({"rooms": 2.5}, "rooms", "type"),
        ({"rooms": 61}, "rooms", "maximum"),
        ({"kind": "castle"}, "kind", "category"),
        ({"kind": 7}, "kind", "category"),
        ({"state": "x" * 256}, "state", "length"),
        ({"garden": "perhaps"}, "garden", "type"),
        ({"sold": "yesterday"}, "sold", "type"),
        ({"sold": 12}, "sold", "type"),
    ],
)
def test_bad_field_is_named_with_its_rule(service, change, field, rule):
    row = {key: value for key, value in (EXAMPLE | change).items() if value is not ...}
    reply = service.http.post("/predict/houses", json=row)
    assert reply.status_code == 422
    [problem] = reply.json()["detail"]
    assert (problem["row"], problem["field"], problem["rule"]) == (0, field, rule)
    assert problem["message"]
    assert "\n" not in problem["message"]


def test_a_closed_category_names_the_allowed_values(service):
    reply = service.http.post("/predict/houses", json=EXAMPLE | {"kind": "castle"})
    assert "flat, house" in reply.json()["detail"][0]["message"]


def test_every_fault_of_a_batch_is_reported_with_its_row(service):
    rows = [EXAMPLE, EXAMPLE | {"area": -1, "rooms": "many"}, EXAMPLE, EXAMPLE | {"kind": "x"}]
    reply = service.http.post("/predict/houses", json={"rows": rows})
    told = {(p["row"], p["field"]) for p in reply.json()["detail"]}
    assert told == {(1, "area"), (1, "rooms"), (3, "kind")}


def test_the_reply_to_a_batch_of_wrong_rows_is_short(service):
    reply = service.http.post("/predict/houses", json={"rows": [{}] * 2000})
    assert reply.status_code == 422
    assert len(reply.json()["detail"]) == reply.json()["shown"] == 100
    assert "there may be more" in reply.json()["more"]


def test_a_row_of_many_unknown_fields_costs_no_more_than_a_hundred_problems(service):
    row = EXAMPLE | {"x" * 9000: 1} | {f"unknown {i}": i for i in range(50_000)}
    reply = service.http.post("/predict/houses", json=row)
    assert reply.status_code == 422
    assert reply.json()["shown"] == 100
    assert len(reply.content) < 20_000


def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(service):
    for values in ("[]," * 1_000_001, "[" * 500_001 + "]" * 500_001 + "," + "{}," * 500_001):
        body = f'{{"area":[{values}0]}}'
        reply = service.http.post(
            "/predict/houses", content=body, headers={"content-type": "application/json"}
        )
        assert reply.status_code == 413
        assert "values" in reply.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        [EXAMPLE],
        3,
        "row",
        None,
        {"rows": []},
        {"rows": EXAMPLE},
        {"rows": [3]},
        {"rows": [EXAMPLE], "x": 1},
    ],
)
def test_another_shape_than_rows_is_refused(service, body):
    reply = service.http.post(
        "/predict/houses", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"{'area': 1}", b"\xff\xfe", b'{"area": NaN}', b"[" * 100_000])
def test_malformed_json_is_a_clear_400(service, body):
    reply = service.http.post("/predict/houses", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert isinstance(reply.json()["detail"], str)
    assert "Traceback" not in reply.text


@pytest.mark.parametrize("kind", [None, "text/plain", "text/html", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(service, kind):
    headers = {"content-type": kind} if kind else {}
    reply = service.http.post("/predict/houses", content=json.dumps(EXAMPLE).encode(), headers=headers)
    assert reply.status_code == 415
    assert "application/json" in reply.json()["detail"]


def test_too_many_rows_and_too_many_bytes(lab):
    lab.publish("houses")
    service = lab.serve(inference_max_rows=5, inference_max_body=4000)
    assert service.http.post("/predict", json={"rows": [EXAMPLE] * 5}).status_code == 200
    reply = service.http.post("/predict", json={"rows": [EXAMPLE] * 6})
    assert reply.status_code == 413
    assert "at most 5" in reply.json()["detail"]
    reply = service.http.post("/predict", json=EXAMPLE | {"state": "x" * 5000})
    assert reply.status_code == 413
    assert "4000" in reply.json()["detail"]
    # The server reads the rest and drops it, so the connection stays (test_process.py).
    assert "connection" not in reply.headers

    # Without a Content-Length.
    def chunks():
        for _ in range(10):
            yield b" " * 1000

    reply = service.http.post("/predict", content=chunks(), headers={"content-type": "application/json"})
    assert reply.status_code == 413
    assert service.predict()


def test_the_bytes_of_all_requests_together_are_bounded(lab):
    lab.publish("houses")
    service = lab.serve(inference_max_bodies=4000)
    reply = service.http.post("/predict", json=EXAMPLE | {"state": "x" * 5000})
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    assert service.metric("inference_errors_total", use_case="houses", kind="busy") == 1
    # What a request held is free again after its reply, and after a refusal.
    for _ in range(5):
        assert service.http.post("/predict", json={"rows": [EXAMPLE] * 12}).status_code == 200
        assert service.http.post("/predict", content=b"{" * 1500).status_code == 415
        assert service.http.post("/predict", json=EXAMPLE | {"state": "x" * 2000}).status_code == 422


def test_unknown_use_case_names_those_that_exist_and_makes_no_label(service):
    reply = service.http.post("/predict/castles", json=EXAMPLE)
    assert reply.status_code == 404
    assert "clinic, forest, houses" in reply.json()["detail"]
    assert "castles" not in service.http.get("/metrics").text
    assert service.metric("inference_errors_total", use_case="unknown", kind="unknown_use_case") >= 1


def test_wrong_method_and_unknown_path(service):
    assert service.http.get("/predict/houses").status_code == 405
    assert service.http.post("/nothing", json={}).status_code == 404


def test_request_id_comes_back_and_is_made_when_absent_or_odd(service):
    assert service.http.get("/health", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    reply = service.http.post("/predict", json=EXAMPLE, headers={"X-Request-ID": "mine-2"})
    assert reply.headers["x-request-id"] == "mine-2"
    assert (
        service.http.post("/predict", json={}, headers={"X-Request-ID": "mine-3"}).headers["x-request-id"]
        == "mine-3"
    )
    for odd in ("", "a b", "x" * 65, '"}'):
        given = service.http.post("/predict", json=EXAMPLE, headers={"X-Request-ID": odd}).headers[
            "x-request-id"
        ]
        assert len(given) == 32
