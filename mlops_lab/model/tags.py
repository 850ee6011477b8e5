"""The tags that the lab writes into MLflow, as typed records: one class for each kind of run, one for a version.

The keys of the tags are only in this file. Steps write the records, pages and reports read them. It imports
neither MLflow nor pandas, so that a page can use it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, get_args

PREFIX = "lab."
KIND = f"{PREFIX}kind"
OUTCOME = f"{PREFIX}outcome"
# Of a batch's run: the distributions behind its drift, and the values that the champion has no code for.
DRIFT_FILE = "drift.json"
# Two of MLflow's own: the run that a run belongs to, and the description of a run or experiment, in Markdown.
PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
TITLE = f"{PREFIX}title"  # of an experiment: the use case's
SECONDS = "seconds."  # before a step's name: a metric of a batch's run
# Characters that MLflow accepts in a tag, in a parameter, and in the digest of a data set.
TAG_LIMIT, PARAM_LIMIT, DIGEST_LIMIT = 5000, 500, 36
# Sealed rows below which their score says little: the standard error of a share is up to five points.
FEW_SEALED = 100


@dataclass(frozen=True, kw_only=True)
class _Tags:
    """A record of tags. An empty text or None means that the tag isn't set, so it isn't written."""

    def to_mlflow(self) -> dict[str, str]:
        """The tags that are set, as MLflow stores them."""
        values = {f"{PREFIX}{field.name}": getattr(self, field.name) for field in fields(self)}
        return {key: str(value)[:TAG_LIMIT] for key, value in values.items() if value not in (None, "")}

    @classmethod
    def from_mlflow(cls, tags: Mapping[str, str]) -> Self:
        """The record in a run's or version's tags. A number that can't be read counts as not set."""
        found = {}
        for field in fields(cls):
            if (text := tags.get(f"{PREFIX}{field.name}")) is not None:
                found[field.name] = _read(field.type, text)
        return cls(**found)


@dataclass(frozen=True, kw_only=True)
class RunTags(_Tags):
    """A run's tags. `kind` is what runs are searched by."""

    kind: ClassVar[str]

    def to_mlflow(self) -> dict[str, str]:
        return {KIND: self.kind} | super().to_mlflow()


@dataclass(frozen=True, kw_only=True)
class BatchTags(RunTags):
    """A batch's run.

    decision: train or skip, with its reason. outcome: promoted, refused, waiting, skipped, rolled back, held or
    accepted, with its reason.
    version: the batch's challenger. checks: how its named checks ended.
    step: the step that began last; step_fault: why it failed. Neither is in the run of an earlier release.
    """

    kind = "batch"

    batch_id: int | None = None
    batch_number: int | None = None
    payload: str = ""
    digest: str = ""
    ignored_columns: str = ""
    checks: str = ""
    decision: str = ""
    reason: str = ""
    outcome: str = ""
    outcome_reason: str = ""
    version: int | None = None
    step: str = ""
    step_fault: str = ""


@dataclass(frozen=True, kw_only=True)
class CandidateTags(RunTags):
    """The run of one candidate, a child of its batch's run. outcome: refused, when it can't be served."""

    kind = "candidate"

    candidate: str = ""
    batch_id: int | None = None
    batch_number: int | None = None
    outcome: str = ""
    outcome_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class PointTags(RunTags):
    """The run of one point of a tuned candidate's search, a child of the candidate's run.

    search: of which rows, code and space. point: what was found, as JSON. outcome: given up, when it was.
    """

    kind = "point"

    candidate: str = ""
    batch_id: int | None = None
    batch_number: int | None = None
    search: str = ""
    point: str = ""
    outcome: str = ""


@dataclass(frozen=True, kw_only=True)
class ExperimentTags(RunTags):
    """A candidate that a person tries in a notebook, outside of the pipeline."""

    kind = "experiment"

    candidate: str = ""
    rows: int | None = None
    outcome: str = ""
    outcome_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class MonitoringTags(RunTags):
    """A monitoring run. version: the champion's. outcome: stable, bound passed or retrain."""

    kind = "monitoring"

    version: int | None = None
    outcome: str = ""
    outcome_reason: str = ""


def kind_of(tags: Mapping[str, str]) -> type[RunTags] | None:
    """Which kind of run has these tags; None when it isn't the lab's."""
    return next((kind for kind in RunTags.__subclasses__() if kind.kind == tags.get(KIND)), None)


@dataclass(frozen=True, kw_only=True)
class VersionTags(_Tags):
    """A registered version.

    metric: the name of the use case's metric; validation, test: the version's scores by it; baseline: the naive
    baseline's on test rows. test and baseline are None when there were no test rows.
    signature: of the digest, by the lab's key.
    left_out: which stored rows its training read, in words, where it didn't read all of them.
    outcome: promoted, refused, waiting, not chosen or rolled back, with its reason.
    sealed: the metric on the sealed rows, measured once when the version became champion (`steps/sealed.py`);
    sealed_low, sealed_high: its 95 % bootstrap interval; sealed_rows: their number. None before.
    holdout_uses: how many promotion decisions had read the test rows when the version was decided on, its own
    included; holdout_since: the day of the first of them. None and empty without a decision, and for one of an earlier
    release.
    against: the champion that it was compared with; scores, 95 % interval of their difference in the metric's unit
    (above 0 the challenger is better) and number of the same test rows. None without a comparison.
    decided_at: of the newest decision; champion_since: when it became champion, each time, separated by commas.
    """

    candidate: str = ""
    metric: str = ""
    validation: float | None = None
    test: float | None = None
    baseline: float | None = None
    batch_id: int | None = None
    batch_number: int | None = None
    digest: str = ""
    signature: str = ""
    left_out: str = ""
    outcome: str = ""
    reason: str = ""
    sealed: float | None = None
    sealed_low: float | None = None
    sealed_high: float | None = None
    sealed_rows: int | None = None
    holdout_uses: int | None = None
    holdout_since: str = ""
    against: int | None = None
    challenger_score: float | None = None
    champion_score: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    compared_rows: int | None = None
    decided_at: str = ""
    champion_since: str = ""

    @property
    def sealed_words(self) -> str:
        """The score on the sealed rows; empty before it was measured."""
        if self.sealed is None or self.sealed_rows is None:
            return ""
        interval = ""
        if self.sealed_low is not None and self.sealed_high is not None:
            interval = f" (95% interval {self.sealed_low:.4g} to {self.sealed_high:.4g})"
        few = ", too few to say much" if self.sealed_rows < FEW_SEALED else ""
        rows = f"{self.sealed_rows:,} sealed row{'s' if self.sealed_rows != 1 else ''}"
        return f"{self.metric} {self.sealed:.4g}{interval} on {rows}{few}"


@dataclass(frozen=True, kw_only=True)
class ModelTags(_Tags):
    """A registered model. A model without the tag `lab.use_case` isn't the lab's.

    trial: the challenger that gets live traffic, as `mlops_lab.model.trial` writes it.
    """

    use_case: str = ""
    trial: str = ""


def _read(kind: Any, text: str) -> str | int | float | None:
    if kind is str:
        return text
    try:
        number = get_args(kind)[0](text)
    except ValueError:
        return None
    return number if number == number else None
