"""A run of the lab in MLflow, as its two readers have it: the pages over HTTP, the commands through MLflow's client.

It imports neither MLflow nor pandas, so that a page can use it.
"""

from dataclasses import dataclass
from datetime import datetime

from mlops_lab.model.tags import PARENT, BatchTags

RUNNING = "RUNNING"


@dataclass(frozen=True)
class Run:
    """One MLflow run: a batch, a candidate or a check. Times are UTC; ended is None while it runs.

    payloads: name and address of each batch that it learnt from.
    """

    id: str
    experiment_id: str
    name: str
    started: datetime
    status: str
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    ended: datetime | None = None
    payloads: tuple[tuple[str, str], ...] = ()

    @property
    def parent(self) -> str | None:
        """The id of the run that this one belongs to."""
        return self.tags.get(PARENT)

    @property
    def batch(self) -> str:
        """Of a batch's run, the batch's number; what the run is named after where it has none."""
        number = BatchTags.from_mlflow(self.tags).batch_number
        return self.name.removeprefix("batch-") if number is None else str(number)
