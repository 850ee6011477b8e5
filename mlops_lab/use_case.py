"""The declaration of a use case, and the folder of use cases.

A use case is one file that sets `USE_CASE = UseCase(...)`. Its DAG, tables, model, API, form and dashboards follow
from it. The folder is read at run time, so a new file needs no rebuild.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from mlops_lab.candidates import Candidate
from mlops_lab.check_policy import CheckPolicy
from mlops_lab.contract import LEVEL, USE_CASE_NAME, PromotionPolicy, RetrainPolicy
from mlops_lab.errors import UseCaseError, first_line
from mlops_lab.features import Boolean, Category, Date, Feature
from mlops_lab.history import HistoryPolicy
from mlops_lab.metrics import OF_TASK, Metric, Task
from mlops_lab.threshold import Threshold

# The scheduler reads the use cases every few seconds, so nothing heavy is imported here.
if TYPE_CHECKING:
    import pandas as pd

# The lab's own columns in the tables of a use case.
RESERVED = {"batch_id", "row_index", "row_hash", "group_hash", "split"}


@dataclass(frozen=True)
class UseCase:
    """One problem: its rows, how they are cleaned, which models compete, by which metric, and when to train.

    name:       lower case; the name of the tables, the DAG, the registered model and the URL.
    dataset:    path prefix at the Data API.
    target:     Number (regression), Boolean (binary) or Category with `allowed` (multiclass).
    features:   the fields of a request, in the order of the model's input.
    extra:      raw columns that only cleaning, the group key or the target need.
    layouts:    for another server's batches whose rows are lists: the names of the columns, one layout for each width.
                The lab's own Data API names the columns itself.
    group_key:  rows with equal values in these columns (one patient, one property) are always in the same split;
                by default the whole row.
    split_day:  a feature of the kind Date: the newest rows test and those before them validate, in place of a hash of
                the group. Then a patient may have rows in two splits, as the service meets known patients again.
    clean:      function(frame) returning a frame: drops rows and repairs values. It must not make a feature, because
                a caller couldn't send it, and must keep the index.
    derived_target: the target is no raw column; `clean` makes it from `extra`.
    rules:      name → function(typed frame) returning a boolean Series; False quarantines the row.
    missing:    strings read as null, in addition to the empty string.
    checks:     the bounds of a batch's named checks; one that fails holds the batch back.
    history:    which of the stored rows a training reads: all, the newest, or a sample of the groups.
    threshold:  binary: from which probability on the answer is true; by default the one of the best F1.
    interval:   regression: the share of new rows whose true value is inside of a prediction's interval.
    schedule:   when the DAG runs, as a cron expression.
    """

    name: str
    title: str
    dataset: str
    target: Feature
    features: Sequence[Feature]
    candidates: Sequence[Candidate]
    metric: Metric
    description: str = ""
    extra: Sequence[Feature] = ()
    layouts: Sequence[Sequence[str]] = ()
    group_key: Sequence[str] = ()
    split_day: str | None = None
    clean: "Callable[[pd.DataFrame], pd.DataFrame]" = lambda frame: frame
    derived_target: bool = False
    rules: "Mapping[str, Callable[[pd.DataFrame], pd.Series]]" = field(default_factory=dict)
    missing: Sequence[str] = ()
    threshold: Threshold = field(default_factory=Threshold)
    interval: float = LEVEL
    retrain: RetrainPolicy = field(default_factory=RetrainPolicy)
    checks: CheckPolicy = field(default_factory=CheckPolicy)
    history: HistoryPolicy = field(default_factory=HistoryPolicy)
    promotion: PromotionPolicy = field(default_factory=PromotionPolicy)
    schedule: str = "*/15 * * * *"

    def __post_init__(self) -> None:
        if not USE_CASE_NAME.fullmatch(self.name):
            raise UseCaseError(f"use case name {self.name!r}: lower-case letters, digits and _ only")
        self._check_kinds()
        names = [f.name for f in self.features]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UseCaseError(f"use case {self.name}: features declared twice: {', '.join(sorted(twice))}")
        every = {f.name for f in (*self.features, *self.extra, self.target)}
        if alike := sorted(name for name in every if name.lower() in {n.lower() for n in every - {name}}):
            raise UseCaseError(
                f"use case {self.name}: {' and '.join(alike)} differ only in case, which a database doesn't tell apart"
            )
        if taken := RESERVED & {f.name for f in (*self.features, *self.extra, self.target)}:
            raise UseCaseError(
                f"use case {self.name}: the lab itself needs the name {', '.join(sorted(taken))}"
            )
        if self.target.name in names:
            raise UseCaseError(f"use case {self.name}: the target {self.target.name} is also a feature")
        if not names or not self.candidates:
            raise UseCaseError(f"use case {self.name}: it needs at least one feature and one candidate")
        if isinstance(self.target, Category) and not self.target.allowed:
            raise UseCaseError(f"use case {self.name}: a category target needs its classes in `allowed`")
        if isinstance(self.target, Date):
            raise UseCaseError(f"use case {self.name}: a date can't be a target; declare a Number")
        if self.threshold != Threshold() and self.task != "binary":
            raise UseCaseError(f"use case {self.name}: a threshold needs a Boolean target")
        if not 0 < self.interval < 1 or (self.interval != LEVEL and self.task != "regression"):
            raise UseCaseError(
                f"use case {self.name}: interval must be between 0 and 1, and needs a Number as its target"
            )
        if unknown := set(self.group_key) - {f.name for f in self.columns}:
            raise UseCaseError(
                f"use case {self.name}: group key of undeclared columns: {', '.join(sorted(unknown))}"
            )
        if self.split_day and not any(
            f.name == self.split_day and isinstance(f, Date) for f in self.features
        ):
            raise UseCaseError(
                f"use case {self.name}: split_day is {self.split_day!r}, which is no Date of its features"
            )
        if not isinstance(self.history, HistoryPolicy):
            raise UseCaseError(
                f"use case {self.name}: history is {_shown(self.history)}; write HistoryPolicy(rows=…, batches=…)"
            )
        self._check_models()
        self.check_promotion(self.promotion)

    def _check_kinds(self) -> None:
        """Raises `UseCaseError` for a value of another kind than the field's."""
        columns = {"target": [self.target], "features": self.features, "extra": self.extra}
        for name, values in columns.items():
            if wrong := [value for value in values if not isinstance(value, get_args(get_args(Feature)[0]))]:
                raise UseCaseError(
                    f"use case {self.name}: {name} has {_shown(wrong[0])}; declare Number, Integer, Boolean, Date or "
                    "Category"
                )
        for name in ("group_key", "missing", "layouts"):
            if isinstance(value := getattr(self, name), str):
                raise UseCaseError(f"use case {self.name}: {name} is a text; write a list: [{value!r}]")
        if any(isinstance(layout, str) for layout in self.layouts):
            raise UseCaseError(
                f"use case {self.name}: layouts is a list of lists, one for each number of columns"
            )

    def _check_models(self) -> None:
        """Raises `UseCaseError` when a metric or a candidate doesn't fit the task."""
        task = self.task
        known = ", ".join(metric.name.upper() for metric in OF_TASK[task])
        if self.metric not in OF_TASK[task]:
            raise UseCaseError(
                f"use case {self.name}: metric is {_shown(self.metric)}; for a {task} there are {known}"
            )
        for candidate in self.candidates:
            if not isinstance(candidate, Candidate):
                called = getattr(candidate, "__name__", candidate)
                raise UseCaseError(
                    f"use case {self.name}: candidates has {_shown(candidate)}; write it as {called}()"
                )
            if task not in candidate.tasks:
                raise UseCaseError(
                    f"use case {self.name}: {candidate.name} learns {' and '.join(candidate.tasks) or 'nothing'}, and "
                    f"{self.target.name} makes this a {task}"
                )
        names = [candidate.name for candidate in self.candidates]
        if twice := {name for name in names if names.count(name) > 1}:
            raise UseCaseError(
                f"use case {self.name}: candidates twice: {', '.join(sorted(twice))}; give one several points"
            )

    def check_promotion(self, policy: PromotionPolicy) -> None:
        """Raises `UseCaseError` when a promotion policy names a metric or a slice that the use case doesn't have."""
        known = [metric.name for metric in OF_TASK[self.task]]
        if unknown := set(policy.bounds) - set(known):
            raise UseCaseError(
                f"use case {self.name}: bounds of unknown metrics: {', '.join(sorted(unknown))}; "
                f"there are {', '.join(known)}"
            )
        sliced = [f.name for f in self.features if isinstance(f, Category | Boolean)]
        if unknown := set(policy.slices) - set(sliced):
            raise UseCaseError(
                f"use case {self.name}: slices by {', '.join(sorted(unknown))}, which is no category and no boolean "
                "of its features"
            )

    @property
    def training_dag(self) -> str:
        """The id of its training DAG in Airflow."""
        return f"{self.name}_training"

    @property
    def scoring_dag(self) -> str:
        """The id of its scoring DAG in Airflow."""
        return f"{self.name}_scoring"

    @property
    def approval_dag(self) -> str:
        """The id of the DAG in which a person decides, where the promotion policy asks one."""
        return f"{self.name}_approval"

    @property
    def rollback_dag(self) -> str:
        """The id of the DAG that makes an earlier champion champion again, for a person."""
        return f"{self.name}_rollback"

    @property
    def task(self) -> Task:
        if isinstance(self.target, Category):
            return "multiclass"
        return "binary" if isinstance(self.target, Boolean) else "regression"

    @property
    def classes(self) -> list[str]:
        """The classes of the probability columns, as texts, in order."""
        if isinstance(self.target, Category):
            return list(self.target.allowed)
        return ["false", "true"] if self.task == "binary" else []

    @property
    def columns(self) -> list[Feature]:
        """The raw columns that a batch must bring."""
        columns = [*self.features, *self.extra]
        return columns if self.derived_target else [*columns, self.target]


def read_use_cases(folder: Path) -> tuple[dict[str, UseCase], dict[str, str]]:
    """(use cases by name, faults by file name) of the folder.

    A broken file doesn't hide the others. Of two files with one use case the one of its name counts.
    Raises `UseCaseError` when the folder doesn't exist.
    """
    if not folder.is_dir():
        raise UseCaseError(f"the folder of use cases, {folder}, doesn't exist; set LAB_USE_CASES")
    found: dict[str, UseCase] = {}
    faults: dict[str, str] = {}
    files: dict[str, Path] = {}
    for path in sorted(folder.glob("[!_.]*.py")):
        try:
            use_case = _load(path)
            other = files.get(use_case.name)
            if other and path.stem == use_case.name:
                faults[other.name] = _second(use_case.name, path)
            elif other:
                raise UseCaseError(_second(use_case.name, other))
            found[use_case.name], files[use_case.name] = use_case, path
        except Exception as error:  # a user's file may raise anything; it is reported
            own = isinstance(error, UseCaseError)
            faults[path.name] = _line(error, path) + first_line(error, with_class=not own)
    return found, faults


def _second(name: str, other: Path) -> str:
    return f"{other.name} declares the use case {name}, too; remove one of both"


def get_use_case(folder: Path, name: str) -> UseCase:
    """One use case by name. Raises `UseCaseError` with the names that exist, or with the fault in its file."""
    found, faults = read_use_cases(folder)
    if name in found:
        return found[name]
    if fault := faults.get(f"{name}.py"):
        raise UseCaseError(f"use_cases/{name}.py can't be used: {fault}")
    raise UseCaseError(f"there is no use case {name!r}; there are {', '.join(found) or 'none'} in {folder}")


def _shown(value: object) -> str:
    """A wrong value of a field: a metric by its name, a function by its own."""
    return str(getattr(value, "name", None) or getattr(value, "__name__", None) or repr(value))


def _line(error: BaseException, path: Path) -> str:
    """The line of the file at which it failed, as a beginning of the message."""
    frames = traceback.extract_tb(error.__traceback__)
    numbers = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"line {numbers[-1]}: " if numbers else ""


def _load(path: Path) -> UseCase:
    name = f"use_cases.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UseCaseError("it isn't a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    use_case = getattr(module, "USE_CASE", None)
    if not isinstance(use_case, UseCase):
        raise UseCaseError("it sets no USE_CASE = UseCase(...)")
    return use_case
