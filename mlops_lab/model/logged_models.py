"""MLflow's logged model of each version: one page with its parameters, and which rows each of its figures is of.

Its files stay with the candidate's run, whose folder is what the lab signs and downloads. So for MLflow it is an
external model, like one of `mlflow.create_external_model`.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_IS_EXTERNAL, MLFLOW_MODEL_VERSIONS

from mlops_lab.model.tags import DIGEST_LIMIT, PARAM_LIMIT

if TYPE_CHECKING:
    from mlflow import MlflowClient

_NOT_IN_A_NAME = re.compile(r"[/:.%\"']")
PAGE = 100


class LoggedModels:
    """The logged models of runs."""

    def __init__(self, client: "MlflowClient"):
        self._client = client

    @contextmanager
    def make(self, run_id: str, name: str, task: str, params: Mapping[str, object]) -> Iterator[str]:
        """The new logged model of a run, by its id. Ready when the block ends, failed when it raises.

        name: characters that MLflow refuses become `-`. task: the contract's, as the model's type.
        """
        run = self._client.get_run(run_id)
        made = self._client.create_logged_model(
            run.info.experiment_id,
            name=_NOT_IN_A_NAME.sub("-", name),
            source_run_id=run_id,
            tags={MLFLOW_MODEL_IS_EXTERNAL: "true"},
            params={key: str(value)[:PARAM_LIMIT] for key, value in params.items()},
            model_type=task,
        )
        try:
            self._client.log_outputs(run_id, [LoggedModelOutput(made.model_id, 0)])
            yield made.model_id
        except BaseException:
            self._client.finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)
            raise
        self._client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)

    def log(
        self, run_id: str, model_id: str, figures: Mapping[str, Mapping[str, float | None]], digest: str
    ) -> None:
        """Metrics of the run and of its model. figures: by the name of the rows that they are of.

        digest: of all rows that the training read; the same name and digest are the same rows.
        """
        moment = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            [
                Metric(key, float(value), moment, 0, model_id, rows, digest[:DIGEST_LIMIT])
                for rows, values in figures.items()
                for key, value in values.items()
                if value is not None
            ],
        )

    def link(self, model_id: str, use_case: str, version: int) -> None:
        """Makes the model's page name the registered version."""
        named = json.dumps([{"name": use_case, "version": version}])
        self._client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: named})

    def delete(self, experiment_id: str, run_id: str | None = None) -> None:
        """Deletes the models of one run; without a run all of the experiment."""
        asked = f"source_run_id = '{run_id}'" if run_id else None
        while found := self._client.search_logged_models([experiment_id], asked, max_results=PAGE):
            for model in found:
                self._client.delete_logged_model(model.model_id)
