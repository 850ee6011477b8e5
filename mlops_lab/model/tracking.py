"""Runs in MLflow: one for each batch, with counts, decision and drift, and beneath it one for each candidate."""

import json
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlflow.data.http_dataset_source import HTTPDatasetSource
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from mlops_lab.errors import ServiceError, first_line
from mlops_lab.model.card import is_ours
from mlops_lab.model.logged_models import LoggedModels
from mlops_lab.model.notes import of_experiment, of_run
from mlops_lab.model.registry import Registry
from mlops_lab.model.runs import Run
from mlops_lab.model.tags import (
    DIGEST_LIMIT,
    NOTE,
    OUTCOME,
    PARAM_LIMIT,
    PARENT,
    PREFIX,
    SECONDS,
    TAG_LIMIT,
    TITLE,
    ModelTags,
    RunTags,
)
from mlops_lab.use_case import UseCase


class Tracking:
    """The lab's runs. A use case's experiment has its name.

    artifact_root: where artifacts go when no MLflow server stands between (embedded without services).
    """

    def __init__(self, registry: Registry, artifact_root: str | None = None):
        self._client = registry.client
        self._artifact_root = artifact_root
        self.models = LoggedModels(registry.client)

    def experiment(self, use_case: str) -> str:
        """The id of the use case's experiment, made when it isn't there."""
        if (found := self._client.get_experiment_by_name(use_case)) is None:
            location = f"{self._artifact_root}/{use_case}" if self._artifact_root else None
            try:
                return self._client.create_experiment(use_case, artifact_location=location)
            except MlflowException as error:
                # Another process may have made it meanwhile.
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                if (found := self._client.get_experiment_by_name(use_case)) is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def name(self, use_case: str, title: str) -> None:
        """Writes the use case's title on its experiment, so that pages have it before there is a champion."""
        experiment = self.experiment(use_case)
        if self._client.get_experiment(experiment).tags.get(TITLE) != title:
            self._client.set_experiment_tag(experiment, TITLE, title)

    def describe(self, use_case: UseCase) -> None:
        """Gives the use case's experiment its title and its description. A description by a person stays."""
        self.name(use_case.name, use_case.title)
        experiment, text = self.experiment(use_case.name), of_experiment(use_case)[:TAG_LIMIT]
        before = self._client.get_experiment(experiment).tags.get(NOTE, "")
        if before != text and is_ours(before, text):
            self._client.set_experiment_tag(experiment, NOTE, text)

    def start(self, use_case: str, name: str, tags: RunTags, parent: str | None = None) -> str:
        """Opens a run and returns its id. parent: the id of the run that it belongs to."""
        labels = ModelTags(use_case=use_case).to_mlflow() | tags.to_mlflow()
        labels[NOTE] = of_run(labels, {})
        if parent:
            labels[PARENT] = parent
        return self._client.create_run(self.experiment(use_case), tags=labels, run_name=name).info.run_id

    def log(
        self,
        run_id: str,
        *,
        params: dict[str, Any] | None = None,
        metrics: Mapping[str, float | None] | None = None,
        tags: RunTags | None = None,
    ) -> None:
        """Parameters, the metrics that have a value, and the tags that are set, in one request.

        With tags the run's description is made again, from all that it has then; one that a person wrote stays.
        """
        moment = int(time.time() * 1000)
        figures = {k: float(v) for k, v in (metrics or {}).items() if v is not None}
        labels = tags.to_mlflow() if tags else {}
        if labels:
            known = self._client.get_run(run_id).data
            text = of_run(known.tags | labels, known.metrics | figures)
            if is_ours(known.tags.get(NOTE, ""), text):
                labels[NOTE] = text
        self._client.log_batch(
            run_id,
            metrics=[Metric(k, v, moment, 0) for k, v in figures.items()],
            params=[Param(k, str(v)[:PARAM_LIMIT]) for k, v in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in labels.items()],
        )

    def mark(self, run_id: str, step: str, fault: str, seconds: float | None) -> None:
        """Notes the step that works on a batch; fault: why it failed, empty: it didn't; seconds: how long it took."""
        moment = int(time.time() * 1000)
        took = [] if seconds is None else [Metric(f"{SECONDS}{step}", seconds, moment, 0)]
        record = {"step": step, "step_fault": fault[:TAG_LIMIT]}
        self._client.log_batch(run_id, took, tags=[RunTag(f"{PREFIX}{key}", v) for key, v in record.items()])

    def log_series(self, run_id: str, values: list[dict[str, float]]) -> None:
        """One step for each dictionary: the trials of a grid, as curves."""
        moment = int(time.time() * 1000)
        series = [
            Metric(k, float(v), moment, step) for step, row in enumerate(values) for k, v in row.items()
        ]
        self._client.log_batch(run_id, metrics=series)

    def log_json(self, run_id: str, path: str, content: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            file.write_text(json.dumps(content, ensure_ascii=False, indent=1, default=str), encoding="utf-8")
            self._client.log_artifact(run_id, str(file), str(Path(path).parent) if "/" in path else None)

    def log_bytes(self, run_id: str, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            self._client.log_artifact(run_id, str(file))

    def read_bytes(self, run_id: str, name: str) -> bytes:
        """A file of the run. Raises `ServiceError` when MLflow doesn't hand it out."""
        with tempfile.TemporaryDirectory() as folder:
            try:
                return Path(self._client.download_artifacts(run_id, name, folder)).read_bytes()
            except (MlflowException, OSError) as error:
                raise ServiceError(f"{name} of run {run_id} can't be read: {first_line(error)}") from error

    def log_folder(self, run_id: str, folder: Path, path: str | None = None) -> None:
        self._client.log_artifacts(run_id, str(folder), path)

    def log_dataset(self, run_id: str, name: str, digest: str, url: str, context: str) -> None:
        """The data that the run used, as MLflow shows it under «Datasets used»."""
        dataset = MetaDataset(HTTPDatasetSource(url), name=name, digest=digest[:DIGEST_LIMIT])
        inputs = DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", context)])
        self._client.log_inputs(run_id, [inputs])

    def end(self, run_id: str, failed: bool = False) -> None:
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    def kill(self, run_id: str) -> None:
        """Ends a run that its process left open."""
        self._client.set_terminated(run_id, "KILLED")

    def open_runs(self, use_case: str) -> list[tuple[str, dict[str, str]]]:
        """The runs that haven't ended, as (run id, tags)."""
        return self._search(use_case, "attributes.status = 'RUNNING'")

    def runs_waiting(self, use_case: str) -> list[tuple[str, dict[str, str]]]:
        """The runs of batches whose challenger waits for a person by their tags, as (run id, tags)."""
        return self._search(use_case, f"tags.`{OUTCOME}` = 'waiting'")

    def children(
        self, use_case: str, run_id: str, *, unfinished: bool = False
    ) -> list[tuple[str, dict[str, str]]]:
        """The runs that belong to a run, as (run id, tags), newest first. unfinished: only those without success."""
        condition = " and attributes.status != 'FINISHED'" if unfinished else ""
        return self._search(use_case, f"tags.`{PARENT}` = '{run_id}'{condition}")

    def move(self, run_id: str, parent: str) -> None:
        """Makes the run a child of another one."""
        self._client.set_tag(run_id, PARENT, parent)

    def _search(self, use_case: str, condition: str) -> list[tuple[str, dict[str, str]]]:
        if (found := self._client.get_experiment_by_name(use_case)) is None:
            return []
        runs = self._client.search_runs(
            [found.experiment_id], condition, max_results=1000, order_by=["attributes.start_time DESC"]
        )
        return [(run.info.run_id, dict(run.data.tags)) for run in runs]

    def newest_runs(self, use_case: str, most: int) -> list[Run]:
        """The newest runs of any kind, the newest first."""
        if (found := self._client.get_experiment_by_name(use_case)) is None:
            return []
        runs = self._client.search_runs(
            [found.experiment_id], max_results=most, order_by=["attributes.start_time DESC"]
        )
        return [
            Run(
                id=run.info.run_id,
                experiment_id=run.info.experiment_id,
                name=run.info.run_name or "",
                started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
                status=run.info.status,
                metrics=dict(run.data.metrics),
                params=dict(run.data.params),
                tags=dict(run.data.tags),
                ended=datetime.fromtimestamp(run.info.end_time / 1000, UTC) if run.info.end_time else None,
            )
            for run in runs
        ]

    def delete_runs(self, use_case: str) -> None:
        """Deletes the experiment's runs and models, and the registered model, for `lab reset`."""
        if found := self._client.get_experiment_by_name(use_case):
            self.models.delete(found.experiment_id)
            while runs := self._client.search_runs([found.experiment_id], max_results=1000):
                for run in runs:
                    self._client.delete_run(run.info.run_id)
        try:
            self._client.delete_registered_model(use_case)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
