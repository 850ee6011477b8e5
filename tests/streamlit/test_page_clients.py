"""The two HTTP clients of the pages against the real services: their results and their errors."""

import json

import pytest
from pydantic import SecretStr

from mlops_lab.client import InferenceClient, RequestRefusedError, ServiceAwayError
from mlops_lab.errors import ContractError
from mlops_lab.model.tags import BatchTags, CandidateTags
from mlops_lab.settings import REPOSITORY
from tests.support import contracts
from tests.support.processes import KEY, away

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("pages")]


@pytest.fixture
def api(inference) -> InferenceClient:
    return InferenceClient(inference.url, timeout=60, key=SecretStr(KEY))


def test_a_client_without_a_key_is_told_so(inference):
    with pytest.raises(RequestRefusedError, match="requires an API key") as refused:
        InferenceClient(inference.url).models()
    assert refused.value.status == 401


@pytest.fixture
def ui_tracking(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_tracking

    return ui_tracking


@pytest.fixture
def tracking(ui_tracking, mlflow):
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
    assert {"housing", "diabetes", "covertype"} <= {model.use_case for model in api.models().models}


def test_reads_versions_with_their_tags(api):
    versions = api.versions("housing")
    assert [version.version for version in versions] == [6, 5, 4, 3, 2, 1]
    assert [version.aliases for version in versions if version.aliases] == [("challenger",), ("champion",)]
    champion = versions[-1]
    assert champion.is_champion
    assert (champion.facts.candidate, champion.facts.outcome) == ("gradient_boosting", "promoted")
    assert (champion.facts.validation, champion.facts.baseline) == (0.33, 0.81)
    assert api.versions("castles") == []


def test_a_bad_row_is_refused_with_every_problem(api):
    with pytest.raises(ContractError) as refused:
        api.predict("housing", [contracts.housing().example | {"bed": -1, "colour": "red"}])
    assert {problem["field"] for problem in refused.value.problems} == {"bed", "colour"}


def test_an_unknown_use_case_names_those_that_exist(api):
    with pytest.raises(RequestRefusedError, match="housing"):
        api.contract("castles")


def test_no_model_yet_is_not_an_outage(api):
    with pytest.raises(RequestRefusedError, match="newcomer"):
        api.contract("newcomer")


def test_an_unreachable_or_wrong_service_is_one_clear_line(mlflow):
    with pytest.raises(ServiceAwayError, match="doesn't answer") as refused:
        InferenceClient(away()).models()
    assert "\n" not in str(refused.value)
    with pytest.raises(ServiceAwayError, match="answers 404"):
        InferenceClient(mlflow.url, timeout=60).models()


def test_reads_runs_and_artifacts(tracking, api):
    assert {"housing", "diabetes", "covertype", "newcomer"} <= set(tracking.use_cases())
    batches = tracking.runs("housing", BatchTags)
    assert [BatchTags.from_mlflow(run.tags).batch_number for run in batches] == [2, 1, 0]
    candidates = {run.id: run for run in tracking.runs("housing", CandidateTags)}
    champion = api.versions("housing")[-1]
    assert candidates[champion.run_id].parent == batches[2].id
    plots = [f"plots/{name}.png" for name in ("errors", "predicted", "shap_summary")]
    assert tracking.artifacts(champion.run_id, "plots") == plots
    assert tracking.artifact(champion.run_id, plots[-1]).startswith(b"\x89PNG")
    assert len(json.loads(tracking.artifact(batches[0].id, "quarantine.json"))) == 19


def test_older_runs_are_kept_and_new_ones_are_seen_at_once(tracking, ui_tracking, past, monkeypatch):
    monkeypatch.setattr(ui_tracking, "NEWEST", 1)
    for landed in (1, 2, 3):
        past.landed("growing")
        first = tracking.runs("growing", BatchTags)
        assert len(first) == landed
        assert tracking.runs("growing", BatchTags) == first
    read = list[dict]()
    monkeypatch.setattr(tracking, "_pages", lambda *_, **query: read.append(query) or iter([]))
    assert tracking.runs("growing", BatchTags) == first
    assert not read, "the older ones are kept"


def test_a_run_has_its_rivals_until_it_is_deleted(tracking, ui_tracking, api, past):
    champion = api.versions("housing")[-1]
    run = tracking.run(champion.run_id)
    assert run.metrics["validation.rmse_log"] == champion.facts.validation
    found = {CandidateTags.from_mlflow(rival.tags).candidate for rival in tracking.children(run)}
    assert found == {"gradient_boosting", "random_forest", "ridge"}
    gone = past.landed("growing")
    past.registry.client.delete_run(gone)
    with pytest.raises(ui_tracking.NotFoundError, match="was deleted"):
        tracking.run(gone)
    with pytest.raises(ui_tracking.NotFoundError):
        tracking.run("0" * 32)


def test_missing_runs_are_empty_and_missing_files_are_named(tracking, ui_tracking):
    assert tracking.runs("castles", BatchTags) == []
    run = tracking.runs("housing", BatchTags)[0].id
    assert tracking.artifacts(run, "plots") == []
    with pytest.raises(ui_tracking.NotFoundError):
        tracking.artifact(run, "nothing.json")


def test_an_unreachable_mlflow_is_one_clear_line(ui_tracking):
    with pytest.raises(ui_tracking.TrackingAwayError, match="doesn't answer"):
        ui_tracking.Tracking(away()).use_cases()
