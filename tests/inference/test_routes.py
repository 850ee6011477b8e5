"""The routes about the models: /models, the contract, look-ups, versions, OpenAPI, readiness, metrics."""

from datetime import datetime
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from sqlalchemy import insert
from sqlalchemy.orm import Session

from mlops_lab.contract import Contract
from mlops_lab.data.tables import Check, LiveScore
from tests.inference.serving import EXAMPLE, TOKEN
from tests.support import models


def test_index_health_ready(service):
    assert service.http.get("/").json()["serves"] == ["clinic", "forest", "houses"]
    assert service.http.get("/health").json() == {"status": "ok"}
    assert service.http.get("/ready").json()["models"] == {"clinic": 1, "forest": 1, "houses": 1}


def test_models(service):
    body = service.http.get("/models").json()
    houses = body["models"][2]
    assert (houses["use_case"], houses["version"], houses["error"], houses["task"]) == (
        "houses",
        1,
        None,
        "regression",
    )
    assert body["default"] == "houses"


def test_contract_is_the_models_own(service, shared):
    reply = service.http.get("/models/houses")
    stored = Contract.load(shared.built / "houses-1.0")
    told = Contract.model_validate_json(reply.content)
    no_rows = {"background": [], "evaluation": stored.evaluation.model_copy(update={"cells": []})}
    assert told == stored.model_copy(update={"reference": {}} | no_rows)
    assert stored.background
    assert stored.evaluation.cells
    assert reply.headers["x-model-version"] == "1"
    full = Contract.model_validate_json(service.http.get("/models/houses?full=true").content)
    # Training rows are nobody's to read.
    assert full == stored.model_copy(update=no_rows)


def test_the_check_predicts_the_example_and_counts_nowhere(service):
    def counted() -> float:
        return service.metric("feature_drift_rows", use_case="houses")

    expected, before = service.predict()["predictions"], counted()
    body = service.http.get("/models/houses/check").json()
    assert body == {"predictions": expected, "model": {"name": "houses", "version": 1}}
    assert counted() == before
    assert service.http.get("/models/castles/check").status_code == 404


def test_values_of_a_category_are_looked_up(service):
    body = service.http.get("/models/houses/features/state").json()
    assert body["total"] == 120
    assert body["values"] == models.STATES[:50]
    assert service.http.get("/models/houses/features/state", params={"q": "STATE 11"}).json()["values"] == [
        f"State 11{i}" for i in range(10)
    ]
    assert service.http.get("/models/houses/features/state", params={"q": "Atlantis"}).json()["values"] == []
    for wrong in ("area", "nothing"):
        reply = service.http.get(f"/models/houses/features/{wrong}")
        assert reply.status_code == 404
        assert "kind, state" in reply.json()["detail"]


def test_versions_have_their_reasons(service):
    [version] = service.http.get("/models/houses/versions").json()["versions"]
    assert version["aliases"] == ["champion"]
    assert version["tags"]["lab.reason"] == "first champion"
    assert service.http.get("/models/castles/versions").status_code == 404


def test_openapi_describes_every_field(service):
    document = service.http.get("/openapi.json").json()
    paths = document["paths"]
    assert {"/predict/houses", "/predict/clinic", "/predict/forest", "/explain/houses", "/predict"} <= set(
        paths
    )
    assert not any("{use_case}" in path for path in paths if path.startswith("/predict"))
    row = document["components"]["schemas"]["houses"]["properties"]
    assert (row["area"]["minimum"], row["area"]["maximum"], row["area"]["x-unit"]) == (5, 2000, "m2")
    assert row["kind"]["enum"] == ["flat", "house", None]
    assert row["sold"]["format"] == "date"
    assert row["rooms"]["type"] == "integer"
    assert row["area"]["examples"] == [120.5]
    example = paths["/predict/houses"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert service.predict(example)


@pytest.mark.process
@pytest.mark.browser
def test_the_page_docs_predicts_and_loads_nothing_from_elsewhere(shared, tab):
    service = shared.start()
    asked = set()
    tab.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    tab.goto(f"{service.http.base_url}/docs")
    tab.get_by_role("button", name="post /predict/houses", exact=True).click()
    tab.get_by_role("button", name="Try it out").click()
    with tab.expect_response("**/predict/houses") as reply:
        tab.get_by_role("button", name="Execute").click()
    assert reply.value.json()["model"]["name"] == "houses"
    expect(tab.locator(".live-responses-table")).to_contain_text("prediction_ids")
    # "" stands for pictures inside the page.
    assert asked - {""} == {service.http.base_url.netloc.decode()}


def test_a_use_case_trained_later_appears_without_a_restart(lab):
    lab.publish("houses")
    service = lab.serve()
    assert "/predict/forest" not in service.http.get("/openapi.json").json()["paths"]
    assert service.http.post("/predict/forest", json=EXAMPLE).status_code == 404
    lab.publish("forest")
    service.wait(lambda: service.http.post("/predict/forest", json=EXAMPLE).status_code == 200)
    assert "/predict/forest" in service.http.get("/openapi.json").json()["paths"]


def test_ready_only_when_every_champion_was_loaded(shared):
    """Kubernetes sends a new replica requests for all of them as soon as it is ready."""
    service = shared.serve(ready=False)
    while (reply := service.http.get("/ready")).status_code == 503:
        assert "not loaded yet" in reply.json()["detail"]
    assert reply.json()["models"].keys() == models.TASKS.keys()


def test_no_model_yet_is_503_and_not_ready(lab):
    service = lab.serve(ready=False)
    service.wait(lambda: service.http.get("/models").json()["registry"]["looked"])
    for path in ("/predict", "/predict/houses", "/explain/houses"):
        reply = service.http.post(path, json=EXAMPLE)
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) > 0
        assert "no model yet" in reply.json()["detail"]
    reply = service.http.get("/ready")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    assert service.http.get("/health").status_code == 200
    lab.publish("houses", champion=False)
    service.wait(lambda: service.http.get("/models").json()["models"])
    assert "no champion" in service.http.post("/predict", json=EXAMPLE).json()["detail"]


def test_metrics_have_the_documented_names(service):
    service.predict()
    service.http.post("/predict/houses", json={})
    text = service.http.get("/metrics").text
    for name in (
        "inference_requests_total",
        "inference_request_latency_seconds_bucket",
        "inference_batch_size_bucket",
        "inference_errors_total",
        "model_info",
        "model_reload_failures_total",
        "feature_drift_bound",
        "inference_prediction_spool_bytes",
        "inference_prediction_spool_rows",
        "process_resident_memory_bytes",
    ):
        assert f"\n{name}" in text, name
    assert (
        service.metric(
            "inference_requests_total", use_case="houses", kind="predict", status="200", version="1"
        )
        >= 1
    )
    assert service.metric("inference_requests_total", use_case="houses", kind="predict", status="422") >= 1
    assert service.metric("inference_errors_total", use_case="houses", kind="contract") >= 1
    assert service.metric("model_info", use_case="houses", version="1", candidate="small") == 1


def test_drift_is_reported_from_the_contracts_number_of_rows_on(lab):
    folder = lab.home / "policy"
    contract = models.build(folder)
    policy = contract.retrain.model_copy(update={"min_drift_rows": 300, "psi": 0.17})
    contract.model_copy(update={"retrain": policy}).save(folder)
    lab.promote(lab.register(folder))
    lab.publish("forest")
    service = lab.serve()
    assert service.metric("feature_drift_bound", use_case="houses") == 0.17
    assert service.metric("feature_drift_bound", use_case="forest") == 0.25
    usual = models.raw_rows(299, seed=11)
    service.http.post("/predict", json={"rows": usual})
    assert "feature_drift_psi{" not in service.http.get("/metrics").text
    service.predict(usual[0])
    assert service.metric("feature_drift_rows", use_case="houses") == 300
    assert 0 < service.metric("feature_drift_psi", use_case="houses", feature="area") < 0.17
    drifted = [row | {"area": 900.0, "state": "Atlantis"} for row in models.raw_rows(3000, seed=12)]
    service.http.post("/predict", json={"rows": drifted})
    assert service.metric("feature_drift_psi", use_case="houses", feature="area") > 0.25
    assert service.metric("feature_drift_psi", use_case="houses", feature="state") > 0.25
    assert service.metric("feature_drift_psi", use_case="houses", feature="rooms") < 0.1


def test_live_scores_and_the_estimate_are_those_of_the_newest_check_and_503_without_the_database(lab):
    lab.publish("houses")
    service = lab.serve()
    nothing = {"use_case": "houses", "live": [], "check": None}
    assert service.http.get("/models/houses/live").json() == nothing
    facts = {"run_id": "r", "metric": "rmse", "checked_at": datetime(2024, 1, 31, 12, 30)}
    with lab.database.begin() as db:
        for version, arm, labelled, score in ((2, "shadow", 99, None), (1, "champion", 340, 12.5)):
            entry = {"version": version, "arm": arm, "labelled": labelled, "score": score}
            db.execute(insert(LiveScore).values(use_case="houses", **entry, **facts))
    common = {"metric": "rmse", "checked_at": "2024-01-31T12:30:00Z"}
    assert service.http.get("/models/houses/live").json()["live"] == [
        {"version": 1, "arm": "champion", "labelled": 340, "score": 12.5} | common,
        {"version": 2, "arm": "shadow", "labelled": 99, "score": None} | common,
    ]
    estimated = {
        "estimated_score": 13.5,
        "estimated_low": 12.8,
        "estimated_high": 14.1,
        "estimated_worse": False,
    }
    tested = {"test_score": 13.0, "test_low": 12.1, "test_high": 13.9}
    for reason in ("earlier", "no bound is passed"):
        common = {"use_case": "houses", "version": 1, "rows": 900, "labelled": 340, "metric": "rmse"}
        found = Check(
            **common,
            **estimated,
            **tested,
            reason=reason,
            passed=False,
            checked_at=datetime(2024, 1, 31, 12, 30),
        )
        with Session(lab.database) as db, db.begin():
            db.add(found)
    check = service.http.get("/models/houses/live").json()["check"]
    assert check["reason"] == "no bound is passed"
    assert check["checked_at"] == "2024-01-31T12:30:00Z"
    assert (estimated | tested).items() <= check.items()
    assert service.http.get("/models/castles/live").status_code == 404
    LiveScore.__table__.drop(lab.database)
    reply = service.http.get("/models/houses/live")
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
    detail = reply.json()["detail"]
    assert "live scores can't be read" in detail
    assert "\n" not in detail
    assert service.predict()


def test_a_browser_gets_a_page_at_the_root_and_a_program_gets_json(service):
    reply = service.http.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    for known in ('href="/docs"', 'href="/models/houses"', f"curl -s {service.http.base_url}/predict/clinic"):
        assert known in reply.text
    for accept in ("*/*", "application/json"):
        assert service.http.get("/", headers={"Accept": accept}).json()["service"] == "inference"


def test_reload_needs_the_token(service):
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer ñ".encode()},
    ):
        reply = service.http.post("/reload", headers=headers)
        assert reply.status_code == 401, headers
        assert TOKEN not in reply.text
    reply = service.http.post("/reload", headers={"Authorization": f"Bearer {TOKEN}"})
    assert reply.status_code == 200
    assert {m["use_case"]: m["version"] for m in reply.json()["models"]} == {
        "clinic": 1,
        "forest": 1,
        "houses": 1,
    }


def test_reload_without_a_configured_token_is_off(lab):
    service = lab.serve(ready=False, reload_token="")
    for headers in ({}, {"Authorization": "Bearer"}):
        reply = service.http.post("/reload", headers=headers)
        assert reply.status_code == 403
        assert "LAB_RELOAD_TOKEN" in reply.json()["detail"]


def test_bad_parameters_are_reported_in_the_same_form(service):
    reply = service.http.get("/models/houses?full=perhaps")
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["field"] == "full"


@pytest.mark.parametrize(
    "path", ["/models/..%2f..%2fetc", "/models/%00", "/predict/%F0%9F%92%A5", "/models/" + "x" * 5000]
)
def test_odd_names_are_404(service, path):
    reply = service.http.get(path) if "models" in path else service.http.post(path, json=EXAMPLE)
    assert reply.status_code == 404
    assert len(reply.content) < 500
