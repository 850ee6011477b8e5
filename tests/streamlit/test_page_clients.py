"""The two HTTP clients of the pages against the real services: what they return, and what they say when refused."""

import json
import re

import pytest

from mlops_lab.client import InferenceClient, NotReady, RequestRefused, ServiceAway
from mlops_lab.errors import ContractError
from tests.support import history
from tests.support.processes import REPOSITORY, free_port


@pytest.fixture
def api(inference) -> InferenceClient:
    return InferenceClient(inference.url, timeout=60)


@pytest.fixture
def ui_tracking(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_tracking

    return ui_tracking


@pytest.fixture
def tracking(ui_tracking, mlflow, registry):
    return ui_tracking.Tracking(mlflow.url, timeout=60)


def test_predicts_explains_and_looks_up(api):
    contract = api.contract("diabetes")
    reply = api.predict("diabetes", [contract.example, contract.example | {"count_1": 20}])
    assert len(reply.predictions) == len(reply.prediction_ids) == 2
    assert reply.threshold == 0.11
    assert sum(reply.probabilities[0].values()) == pytest.approx(1, abs=1e-4)
    moved = api.explain("diabetes", contract.example)
    assert moved.class_ == "true"
    assert moved.explained == pytest.approx(reply.probabilities[0]["true"], abs=1e-4)
    assert api.values("diabetes", "diag_1", "249")[0] == "249"
    assert {"housing", "diabetes", "covertype"} <= {model.use_case for model in api.models()}
    assert [v["version"] for v in api.versions("housing")] == [2, 1]


def test_a_bad_row_is_refused_with_every_problem(api):
    with pytest.raises(ContractError) as refused:
        api.predict("housing", [history.housing().example | {"bed": -1, "colour": "red"}])
    assert {problem["field"] for problem in refused.value.problems} == {"bed", "colour"}


def test_an_unknown_use_case_names_those_that_exist(api):
    with pytest.raises(RequestRefused, match="housing"):
        api.contract("castles")


def test_no_model_yet_is_not_an_outage(api):
    with pytest.raises((NotReady, RequestRefused), match="newcomer"):
        api.contract("newcomer")


def test_a_service_that_is_away_or_another_says_so_in_one_line(mlflow):
    with pytest.raises(ServiceAway, match="doesn't answer") as away:
        InferenceClient(f"http://127.0.0.1:{free_port()}").models()
    assert "\n" not in str(away.value)
    with pytest.raises(ServiceAway, match="answers 404"):
        InferenceClient(mlflow.url, timeout=60).models()


def test_reads_runs_versions_and_artifacts(tracking):
    assert {"housing", "diabetes", "covertype", "newcomer"} <= set(tracking.use_cases())
    batches = tracking.runs("housing", "batch")
    assert [run.tags["lab.batch_number"] for run in batches] == ["2", "1", "0"]
    versions = tracking.versions("housing")
    assert [(v.version, v.aliases) for v in versions] == [(2, ()), (1, ("champion",))]
    candidates = {run.id: run for run in tracking.runs("housing", "candidate")}
    assert candidates[versions[1].run_id].parent == batches[2].id
    assert tracking.artifacts(versions[1].run_id, "plots") == [
        "plots/predicted_against_actual.png",
        "plots/shap_summary.png",
    ]
    assert tracking.artifact(versions[1].run_id, "plots/shap_summary.png").startswith(b"\x89PNG")
    assert len(json.loads(tracking.artifact(batches[0].id, "quarantine.json"))) == 19


def test_what_mlflow_doesnt_have_is_empty_or_named(tracking, ui_tracking):
    assert tracking.runs("castles", "batch") == []
    assert tracking.versions("castles") == []
    run = tracking.runs("housing", "batch")[0].id
    assert tracking.artifacts(run, "plots") == []
    with pytest.raises(ui_tracking.NotFound):
        tracking.artifact(run, "nothing.json")


def test_mlflow_away_says_so_in_one_line(ui_tracking):
    with pytest.raises(ui_tracking.TrackingAway, match="doesn't answer"):
        ui_tracking.Tracking(f"http://127.0.0.1:{free_port()}").use_cases()


def test_no_page_imports_a_use_case_or_mlflow():
    for path in (REPOSITORY / "streamlit").rglob("*.py"):
        found = re.findall(
            r"^\s*(?:from|import) ((?:mlops_lab|mlflow|use_cases|sqlalchemy)[\w.]*)", path.read_text(), re.M
        )
        allowed = {
            "mlops_lab.client",
            "mlops_lab.contract",
            "mlops_lab.errors",
            "mlops_lab.formatting",
        }
        assert set(found) <= allowed, path
