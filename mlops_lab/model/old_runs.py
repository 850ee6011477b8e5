"""The old runs of candidates, searches and checks in MLflow, with their versions and artifacts: found and deleted."""

import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlops_lab.model.logged_models import LoggedModels
from mlops_lab.model.registry import Registry
from mlops_lab.model.tags import KIND, PARENT, CandidateTags, MonitoringTags, PointTags

PAGE = 200
# A batch's run is needed by the lineage of every later model, and an experiment is a person's work: both stay.
KINDS = (PointTags.kind, CandidateTags.kind, MonitoringTags.kind)


@dataclass(frozen=True)
class OldRun:
    """A run that has ended.

    started_at: UTC. batch_id: of a candidate or a point of its search; None for a check. parent: the run above it.
    """

    run_id: str
    experiment_id: str
    started_at: datetime
    batch_id: int | None
    artifact_uri: str
    parent: str | None


class OldRuns:
    """One use case's runs that began before a moment, UTC."""

    def __init__(self, registry: Registry, use_case: str, before: datetime):
        self._registry = registry
        self._use_case = use_case
        self._before = int(before.replace(tzinfo=UTC).timestamp() * 1000)

    def __iter__(self) -> Iterator[OldRun]:
        """The runs, the oldest of each kind first."""
        client = self._registry.client
        found = client.get_experiment_by_name(self._use_case)
        if found is None:
            return
        for kind in KINDS:
            token, asked = None, f"tags.`{KIND}` = '{kind}' and attributes.start_time < {self._before}"
            while True:
                order = ["attributes.start_time ASC"]
                page = client.search_runs(
                    [found.experiment_id], asked, max_results=PAGE, order_by=order, page_token=token
                )
                for run in page:
                    if run.info.status != "RUNNING":
                        started = datetime.fromtimestamp(run.info.start_time / 1000, UTC).replace(tzinfo=None)
                        batch = CandidateTags.from_mlflow(run.data.tags).batch_id
                        uri, parent = run.info.artifact_uri, run.data.tags.get(PARENT)
                        yield OldRun(run.info.run_id, found.experiment_id, started, batch, uri, parent)
                if not (token := page.token):
                    break

    def size(self, run: OldRun) -> int:
        """Bytes of its artifacts."""
        folders, size = [""], 0
        while folders:
            for file in self._registry.client.list_artifacts(run.run_id, folders.pop() or None):
                size += file.file_size or 0
                folders += [file.path] if file.is_dir else []
        return size

    def delete(self, run: OldRun, versions: Collection[int], cache: Path) -> None:
        """Deletes its versions, then its artifacts, its logged model and the run: the next call finishes a killed one.

        cache: the folder of downloaded models.
        """
        for version in versions:
            try:
                self._registry.client.delete_model_version(self._use_case, str(version))
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # Another call deletes the same run.
                    raise
            shutil.rmtree(cache / f"{self._use_case}-{version}", ignore_errors=True)
        uri = self._registry.tracking_uri
        get_artifact_repository(run.artifact_uri, tracking_uri=uri).delete_artifacts()
        client = self._registry.client
        LoggedModels(client).delete(run.experiment_id, run.run_id)
        client.delete_run(run.run_id)
