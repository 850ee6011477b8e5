"""MLflow's logged model of each version: its figures, and which rows they are of."""

import json

import pytest
from mlflow.entities import LoggedModelStatus

from mlops_lab.errors import ModelError
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.registry import CHAMPION
from mlops_lab.steps.train import train
from tests.support.labs import logged_models

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_a_version_has_a_model_whose_figures_name_the_rows_that_they_are_of(trained):
    champion = trained.registry.by_alias("flats", CHAMPION)
    contract = trained.predictor(champion).contract
    [model] = [one for one in logged_models(trained) if one.source_run_id == champion.run_id]
    assert (model.status, model.model_type) == (LoggedModelStatus.READY, "regression")
    assert model.name == champion.facts.candidate
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "flats", "version": champion.version}]
    run = trained.registry.client.get_run(champion.run_id)
    assert [one.model_id for one in run.outputs.model_outputs] == [model.model_id]
    assert model.params == run.data.params
    found = {metric.key: metric for metric in model.metrics}
    assert {metric.dataset_digest for metric in found.values()} == {contract.lineage.digest[:36]}
    for split, scores in contract.metrics.items():
        for name, value in scores.items():
            metric = found[f"{split}.{name}"]
            assert (metric.value, metric.dataset_name) == (value, f"flats-{split}")
            assert run.data.metrics[metric.key] == value
    assert found["baseline.test.rmse"].dataset_name == "flats-test"


def test_a_refused_candidate_leaves_a_failed_model(trained, use_case, monkeypatch):
    def refuse(_) -> None:
        raise ModelError("its graph says something else")

    known = {model.model_id for model in logged_models(trained)}
    monkeypatch.setattr(Predictor, "check_example", refuse)
    assert train(trained, use_case, trained.ledger.batches("flats")[0].id, "ridge", again=True) is None
    [model] = [one for one in logged_models(trained) if one.model_id not in known]
    assert model.status == LoggedModelStatus.FAILED
    assert "mlflow.modelVersions" not in model.tags
