"""The service with MLflow or the database away: replies and metrics say what isn't known."""

from contextlib import ExitStack

import pytest

from tests.inference.serving import EXAMPLE, ServingLab
from tests.support.processes import away, silent_address


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
def test_a_service_that_starts_without_the_registry_is_not_one_without_models(lab, monkeypatch, fault):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with ExitStack() as stack:
        url = away() if fault == "refuses" else f"http://{stack.enter_context(silent_address())}"
        service = lab.serve(ready=False, mlflow_url=url)
        # Before the first look has failed the service loads, and says so.
        assert service.http.get("/ready").status_code == 503
        service.wait(lambda: service.http.get("/models").json()["registry"]["error"])
        for reply in (
            service.http.get("/ready"),
            service.http.get("/models/houses"),
            service.http.get("/models/houses/versions"),
            service.http.post("/predict/houses", json=EXAMPLE),
            service.http.post("/explain/houses", json=EXAMPLE),
            service.http.post("/feedback", json={"prediction_id": "0" * 32, "actual": 5}),
        ):
            assert (reply.status_code, reply.headers.get("retry-after", "10")) == (503, "10")
            assert "the model registry does not answer" in reply.json()["detail"]
        assert service.http.get("/models").json()["registry"]["looked"] is False
        metrics = service.http.get("/metrics").text
        assert "\nmodel_registry_up 0.0" in metrics
        assert "model_reload_failing{" not in metrics
        lab.close()


def test_without_the_database_it_predicts_and_says_what_waits(lab: ServingLab, tmp_path):
    lab.publish("houses")
    # A start with the database confirms the version's digest.
    before = lab.serve(inference_poll=3600)
    assert "\nmodel_registry_up 1.0" in before.http.get("/metrics").text
    assert before.metric("model_reload_failing", use_case="houses") == 0
    service = lab.serve(raw_db_url=f"sqlite:///{tmp_path}/nowhere/RawData.db")
    ids = service.predict()["prediction_ids"]
    sent = service.http.post("/feedback", json={"prediction_id": ids[0], "actual": 5})
    assert sent.status_code == 202
    service.wait(lambda: service.metric("inference_prediction_spool_rows") == 4)
    assert service.metric("inference_predictions_logged_total") == 0
    notes = service.http.get("/alerts/notes")
    assert (notes.status_code, notes.headers["retry-after"]) == (503, "10")
    assert "the database doesn't answer" in notes.json()["detail"]
    [version] = service.http.get("/models/houses/versions").json()["versions"]
    assert version["aliases"] == ["champion"]
