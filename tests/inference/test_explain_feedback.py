"""Explanations and feedback over HTTP."""

import pytest

from mlops_lab.model.predictor import Predictor
from tests.inference.serving import EXAMPLE


def test_regression_is_explained_in_its_unit(service):
    reply = service.http.post("/explain/houses", json=EXAMPLE).json()
    assert set(reply["values"]) == set(EXAMPLE)
    assert reply["base_value"] + sum(reply["values"].values()) == pytest.approx(reply["prediction"], rel=1e-6)
    assert reply["unit"] == "USD"
    assert reply["prediction"] == service.predict()["predictions"][0]
    assert reply["values"]["area"] != 0


def test_binary_is_explained_as_the_probability_of_true(service):
    reply = service.http.post("/explain/clinic", json=EXAMPLE).json()
    probability = service.predict(use_case="clinic")["probabilities"][0]["true"]
    assert reply["base_value"] + sum(reply["values"].values()) == pytest.approx(probability, abs=1e-6)
    assert (reply["class"], reply["unit"]) == ("true", "probability")


@pytest.mark.parametrize("asked", [None, "aspen"])
def test_multiclass_is_explained_for_the_predicted_or_a_given_class(service, shared, asked):
    reply = service.http.post(
        "/explain/forest", json=EXAMPLE, params={"class": asked} if asked else {}
    ).json()
    found = Predictor.load(shared.built / "forest-1.0").predict([EXAMPLE])
    name = asked or found.values[0]
    expected = found.probabilities[0][["pine", "fir", "aspen"].index(name)]
    assert reply["class"] == name
    assert reply["base_value"] + sum(reply["values"].values()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("use_case", ["houses", "clinic", "forest"])
def test_a_curve_is_what_predict_says_for_the_other_values_of_one_field(service, use_case):
    for field, value in EXAMPLE.items():
        reply = service.http.post(f"/explain/{use_case}?curve={field}", json=EXAMPLE).json()
        curve = reply["curve"]
        assert curve["feature"] == field
        assert curve["values"][curve["current"]] == value
        assert len(curve["values"]) == len(set(curve["values"])) > 1
        rows = [EXAMPLE | {field: other} for other in curve["values"]]
        found = service.http.post(f"/predict/{use_case}", json={"rows": rows}).json()
        expected = found["predictions"]
        if use_case != "houses":
            expected = [by_class[reply["class"]] for by_class in found["probabilities"]]
            assert reply["probabilities"] == found["probabilities"][curve["current"]]
        assert curve["predictions"] == pytest.approx(expected)
    assert reply.get("threshold") == found.get("threshold")


@pytest.mark.parametrize(
    ("field", "value", "current"), [("area", None, None), ("state", None, -1), ("state", "Atlantis", -1)]
)
def test_a_curve_knows_where_an_unknown_or_rare_value_is(service, field, value, current):
    row = EXAMPLE | {field: value}
    curve = service.http.post(f"/explain/houses?curve={field}", json=row).json()["curve"]
    if current is None:
        assert curve["current"] is None
        assert (len(curve["values"]), None in curve["values"]) == (30, False)
    else:
        # The 15 most frequent states, and the row's own.
        assert len(curve["values"]) == 16
        assert curve["values"][curve["current"]] == curve["values"][-1] == value


def test_an_explanation_with_a_curve_is_neither_logged_nor_counted_for_drift(service, shared):
    asked = {"X-Request-ID": "an-explanation-with-a-curve"}
    rows = service.metric("feature_drift_rows", use_case="houses")
    for field in EXAMPLE:
        url = f"/explain/houses?curve={field}"
        assert service.http.post(url, json=EXAMPLE, headers=asked).status_code == 200
    assert service.metric("feature_drift_rows", use_case="houses") == rows
    # The log keeps the order, so what came before this prediction is there with it.
    mark = service.predict()["prediction_ids"][0]
    service.wait(lambda: [r for r in shared.predictions() if r.id == mark])
    assert not [r for r in shared.predictions() if r.request_id == asked["X-Request-ID"]]


def test_wrong_explanations(service):
    assert service.http.post("/explain/forest?curve=height", json=EXAMPLE).status_code == 422
    assert service.http.post("/explain/forest?class=oak", json=EXAMPLE).status_code == 422
    assert service.http.post("/explain/houses", json={"rows": [EXAMPLE] * 2}).status_code == 422
    assert service.http.post("/explain/houses", json={}).status_code == 422
    assert service.http.post("/explain/castles", json=EXAMPLE).status_code == 404


def test_feedback_reaches_the_database(service, shared):
    made = service.predict()["prediction_ids"][0]
    body = {"prediction_id": made, "actual": "250000", "group_key": {"city": "Ponce", "zip_code": 730}}
    reply = service.http.post("/feedback", json=body)
    assert reply.status_code == 202
    [row] = service.wait(lambda: [r for r in shared.feedback() if r.prediction_id == made])
    assert (row.id, row.use_case, row.actual) == (reply.json()["feedback_id"], "houses", 250000.0)
    assert row.group_key == {"city": "Ponce", "zip_code": 730}


def test_feedback_is_checked_by_the_target_of_its_use_case(service, shared):
    made = service.predict(use_case="clinic")["prediction_ids"][0]
    assert (
        service.http.post(
            "/feedback", json={"prediction_id": made, "actual": True, "use_case": "clinic"}
        ).status_code
        == 202
    )
    [row] = service.wait(lambda: [r for r in shared.feedback() if r.prediction_id == made])
    assert row.actual is True
    assert row.group_key is None


ID = "0" * 32


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prediction_id": ID}, "actual"),
        ({"prediction_id": ID, "actual": None}, "actual"),
        ({"prediction_id": ID, "actual": 0}, "actual"),
        ({"prediction_id": ID, "actual": "dear"}, "actual"),
        ({"prediction_id": ID, "actual": "oak", "use_case": "forest"}, "actual"),
        ({"actual": 1}, "prediction_id"),
        ({"prediction_id": "mine", "actual": 1}, "prediction_id"),
        ({"prediction_id": ID, "actual": 1, "group_key": "Ponce"}, "group_key"),
        ({"prediction_id": ID, "actual": 1, "group_key": {"a": [1]}}, "group_key"),
        ({"prediction_id": ID, "actual": 1, "colour": 1}, "colour"),
        ({"prediction_id": ID, "actual": 1, "use_case": 3}, "use_case"),
        ([], ""),
    ],
)
def test_bad_feedback_names_the_field(service, body, field):
    reply = service.http.post("/feedback", json=body)
    assert reply.status_code == 422
    assert reply.json()["detail"][0]["field"] == field


def test_feedback_for_an_unknown_use_case(service):
    body = {"prediction_id": ID, "actual": 1, "use_case": "castles"}
    assert service.http.post("/feedback", json=body).status_code == 404
    assert "castles" not in service.http.get("/metrics").text
