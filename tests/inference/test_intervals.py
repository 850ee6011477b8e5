"""Prediction intervals over HTTP: on request only, in each form of a reply."""

import csv
import io

import pytest

from mlops_lab.contract import Interval
from tests.inference.serving import EXAMPLE, ServingLab
from tests.support import models

ROWS = models.raw_rows(3, seed=4)


@pytest.fixture(scope="module")
def sure(tmp_path_factory, templates, built):
    """A service whose model of houses has intervals of ± 1,000 USD."""
    home = tmp_path_factory.mktemp("sure")
    templates.copy_empty(home / "lab")
    lab = ServingLab.open(home / "lab", built)
    contract = models.build(home / "model", "houses")
    interval = Interval(level=0.9, log=False, edges=[], radii=[1000.0], rows=80, groups=80)
    contract.model_copy(update={"interval": interval}).save(home / "model")
    lab.promote(lab.register(home / "model"))
    yield lab.serve()
    lab.close()


def _around(values: list[float]) -> list:
    return [pytest.approx([value - 1000, value + 1000]) for value in values]


def test_a_reply_has_intervals_when_they_are_asked_for(sure):
    reply = sure.http.post("/predict/houses?interval=true", json={"rows": ROWS}).json()
    assert reply["intervals"] == _around(reply["predictions"])
    assert reply["interval_level"] == 0.9
    for query in ("", "?interval=false"):
        assert "intervals" not in sure.http.post(f"/predict/houses{query}", json={"rows": ROWS}).json()
    [fault] = sure.http.post("/predict/houses?interval=perhaps", json=EXAMPLE).json()["detail"]
    assert (fault["field"], fault["message"]) == ("interval", "must be true or false")


def test_a_table_has_the_limits_as_columns(sure):
    headers = {"Accept": "text/csv"}
    reply = sure.http.post("/predict/houses?interval=true", json={"rows": ROWS}, headers=headers)
    found = list(csv.DictReader(io.StringIO(reply.text)))
    values = [float(row["prediction"]) for row in found]
    assert [[float(row["prediction_low"]), float(row["prediction_high"])] for row in found] == _around(values)
    plain = sure.http.post("/predict/houses", json={"rows": ROWS}, headers=headers)
    assert plain.text.splitlines()[0] == "prediction_id,prediction"


def test_invocations_has_intervals_when_they_are_asked_for(sure):
    body = {"dataframe_records": ROWS}
    reply = sure.http.post("/invocations/houses?interval=true", json=body).json()
    assert reply["intervals"] == _around(reply["predictions"])
    assert reply["interval_level"] == 0.9
    assert "intervals" not in sure.http.post("/invocations/houses", json=body).json()


def test_an_explanation_has_the_interval(sure):
    reply = sure.http.post("/explain/houses?interval=true", json=EXAMPLE).json()
    assert [reply["interval"]] == _around([reply["prediction"]])
    assert "interval" not in sure.http.post("/explain/houses", json=EXAMPLE).json()


def test_v2_has_the_output_that_a_request_names(sure):
    inputs = [
        {
            "name": name,
            "datatype": "BYTES",
            "shape": [1],
            "data": [str(value).lower() if value is True else str(value)],
        }
        for name, value in EXAMPLE.items()
    ]
    asked = {"inputs": inputs, "outputs": [{"name": "prediction"}, {"name": "interval"}]}
    [value, interval] = sure.http.post("/v2/models/houses/infer", json=asked).json()["outputs"]
    assert (interval["datatype"], interval["shape"]) == ("FP64", [1, 2])
    assert [interval["data"]] == _around(value["data"])
    named = [output["name"] for output in sure.http.get("/v2/models/houses").json()["outputs"]]
    assert "interval" in named
    plain = sure.http.post("/v2/models/houses/infer", json={"inputs": inputs}).json()["outputs"]
    assert [output["name"] for output in plain] == ["prediction", "prediction_id"]


@pytest.mark.parametrize("use_case", ["houses", "clinic"])
def test_a_model_without_intervals_says_so(service, use_case):
    reply = service.http.post(f"/predict/{use_case}?interval=true", json=EXAMPLE).json()
    assert (reply["intervals"], reply["interval_level"]) == (None, None)
    assert len(reply["predictions"]) == 1
    explained = service.http.post(f"/explain/{use_case}?interval=true", json=EXAMPLE).json()
    assert explained["interval"] is None
