"""From the columns of a table to a use case: target and task, features, group key, metric, candidates."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from mlops_lab.contract import USE_CASE_NAME
from mlops_lab.draft.columns import ENTITIES, IDS, Column, look_at, reserved
from mlops_lab.draft.table import Table
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted

Task = Literal["regression", "binary", "multiclass"]

# Rows below which a split into training, validation and test rows leaves nothing to judge by.
FEWEST_ROWS = 50
# Rows below which about a hundred test rows, and so a score with a wide interval, are all there is.
FEW_ROWS = 700
# Classes of a category target; more are texts or ids.
MOST_CLASSES = 50
# Whole numbers with at most so many distinct values are taken for classes, when each has this many rows on average.
NUMBER_CLASSES, ROWS_OF_CLASS = 10, 20
# The share of rows that must repeat another row's features, or its id, before they are kept in one split.
REPEATED = 0.01
# A category with more values gets the mean target of each value instead of its code, where that converts.
MANY_VALUES = 50
# Rows of a class below which it is hardly learnt.
RARE = 20


class DraftError(LabError):
    """No use case can be made of the file. The text says why, and what would help."""


@dataclass(frozen=True)
class Draft:
    """A use case to be written.

    source:    name of the person's file.
    extra:     columns that only the group key needs. left_out: columns without use, with the reason in `note`.
    group_key: names of columns; empty when each row stands for itself. group_reason: the evidence.
    log:       whether the target is learnt as its logarithm.
    look:      what a person should check by eye.
    """

    name: str
    source: str
    rows: int
    target: Column
    task: Task
    features: list[Column]
    extra: list[Column]
    left_out: list[Column]
    group_key: list[str]
    group_reason: str
    metric: str
    metric_reason: str
    log: bool
    encoding: str
    missing: list[str]
    look: list[str]

    @property
    def summary(self) -> str:
        """What is learnt of how many rows, and by which metric it is judged."""
        kinds = {
            "regression": "a number",
            "binary": "yes or no",
            "multiclass": f"one of {len(self.target.values)} classes",
        }
        return (
            f"{self.source}: {counted(self.rows, 'row')}; {self.target.name} is {kinds[self.task]}, "
            f"judged by {self.metric} ({self.metric_reason})"
        )


def name_of(file: str) -> str:
    """The name of a use case by the name of its file."""
    stem = re.sub(r"\.(csv|tsv|txt|gz|parquet|pq)\b", "", file.lower())
    return re.sub(r"[^a-z0-9]+", "_", stem).strip("_") or "mine"


def choose(
    table: Table,
    source: str,
    name: str,
    target: str,
    *,
    group: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    task: Task | None = None,
) -> Draft:
    """The draft. group, leave_out, task: what the person decides instead of the draft.

    Raises `DraftError` when nothing can be learnt.
    """
    frame = table.frame
    if not USE_CASE_NAME.fullmatch(name):
        raise DraftError(
            f"{name!r} can't be a use case's name: lower-case letters, digits and _ only; set --name"
        )
    for column in (target, *group, *leave_out):
        if column not in frame:
            raise DraftError(
                f"{source} has no column {column!r}; it has {', '.join(map(str, frame.columns))}"
            )
    if len(frame) < FEWEST_ROWS:
        raise DraftError(
            f"{source} has {counted(len(frame), 'row')}; it takes about {FEWEST_ROWS} to train a model and to judge it"
        )
    aim = look_at(target, frame[target])
    aim, found_task, look = _target(aim, frame[target], task, source)
    if reason := reserved(aim):
        raise DraftError(f"{reason}; rename the column in the file")
    columns = [look_at(str(column), frame[column]) for column in frame if column != target]
    columns = [replace(c, kind=None, note=reserved(c)) if reserved(c) else c for c in columns]
    columns = [replace(c, kind=None, note="as told") if c.name in leave_out else c for c in columns]
    if not any(column.kind for column in columns):
        reasons = "; ".join(f"{c.name}: {c.note}" for c in columns[:5])
        raise DraftError(f"{source} has no column to learn from ({reasons or 'only the target'})")
    key, reason = (list(group), "as told") if group else _group_key(frame, columns)
    extra = [c for c in columns if c.name in key and (not c.kind or c.is_entity)]
    features = [c for c in columns if c.kind and c not in extra]
    if not features:
        raise DraftError(f"{source} has no column to learn from beside {', '.join(key)}")
    metric, why, log = _metric(found_task, aim, frame[target])
    wide = any(c.kind == "category" and c.distinct > MANY_VALUES for c in features)
    if len(frame) < FEW_ROWS:
        look.append(
            f"{counted(len(frame), 'row')} are few: a score on so few test rows is rough; more rows help"
        )
    if reason and not group:
        look.append(f"the group key {', '.join(key)}: {reason}")
    look += [f"{c.name}: {c.note}" for c in features if c.note]
    return Draft(
        name=name,
        source=source,
        rows=len(frame),
        target=aim,
        task=found_task,
        features=features,
        extra=extra,
        left_out=[c for c in columns if not c.kind and c not in extra],
        group_key=key,
        group_reason=reason,
        metric=metric,
        metric_reason=why,
        log=log,
        encoding="target" if wide and found_task != "multiclass" else "ordinal",
        missing=sorted({token for c in (aim, *features, *extra) for token in c.tokens}),
        look=look,
    )


def _target(
    column: Column, texts: pd.Series, task: Task | None, source: str
) -> tuple[Column, Task, list[str]]:
    """(the target as the task needs it, the task, what to look at)."""
    look: list[str] = []
    if column.missing:
        look.append(f"{counted(column.missing, 'row')} without {column.name} are no use for learning")
    if column.distinct <= 1:
        raise DraftError(f"{column.name} has {column.seen}: {column.note or 'nothing to learn'}")
    if column.kind == "date" or column.seen == "dates":
        raise DraftError(f"{column.name} is a date; the lab learns numbers, classes, and yes or no")
    if task is None and column.kind == "boolean":
        return column, "binary", look
    numbers = pd.to_numeric(texts, errors="coerce")
    is_number = numbers.notna().sum() >= 0.98 * (column.rows - column.missing)
    few = column.distinct <= NUMBER_CLASSES and column.rows >= ROWS_OF_CLASS * column.distinct
    if task is None and is_number and few and column.kind != "number":
        look.append(
            f"{column.name} is taken for {column.distinct} classes; if it is an amount, use --task regression"
        )
    elif task in (None, "regression") and is_number:
        if column.kind not in ("number", "integer"):
            known = numbers.dropna()
            whole = bool((known == known.round()).all())
            column = replace(
                column,
                kind="integer" if whole else "number",
                low=float(known.min()),
                high=float(known.max()),
                note="",
            )
        return column, "regression", look
    if task == "regression":
        raise DraftError(f"{column.name} isn't a number ({column.seen})")
    if task == "binary":
        if column.kind != "boolean":
            raise DraftError(
                f"{column.name} isn't yes or no ({column.seen}); true, yes, 1, false, no, 0 are read"
            )
        return column, "binary", look
    known = texts[~texts.isin(("", *column.tokens))].str.replace(r"^(-?\d+)\.0+$", r"\1", regex=True)
    counts = known.value_counts()
    if len(counts) > MOST_CLASSES:
        raise DraftError(
            f"{column.name} has {len(counts):,} different texts; the lab learns up to {MOST_CLASSES} classes, "
            f"numbers, and yes or no"
        )
    if rare := [f"{value} ({count})" for value, count in counts.items() if count < RARE]:
        look.append(f"rare classes are hardly learnt: {', '.join(rare[:5])}")
    values = sorted((str(value) for value in counts.index), key=lambda text: (len(text), text))
    return replace(column, kind="category", values=values, note="", width=None), "multiclass", look


def _group_key(frame: pd.DataFrame, columns: list[Column]) -> tuple[list[str], str]:
    """(the columns that say which rows belong together, the evidence)."""
    for column in columns:
        repeated = column.rows - column.missing - column.distinct
        # A thing's own number has many values; a category that is called "client type" has few.
        named = column.words & ENTITIES or (column.words & IDS and len(column.words) > 1)
        if named and column.distinct > max(20, 0.02 * column.rows) and repeated > REPEATED * column.rows:
            rows = (column.rows - column.missing) / column.distinct
            return [column.name], f"{column.distinct:,} values with {rows:.1f} rows each, on average"
    kept = [column.name for column in columns if column.kind]
    repeated = int(frame[kept].duplicated(keep=False).sum())
    if repeated > REPEATED * len(frame):
        return kept, f"{repeated:,} rows have the same features as another row"
    return [], ""


def _metric(task: Task, target: Column, texts: pd.Series) -> tuple[str, str, bool]:
    """(metric, why, whether the logarithm is learnt)."""
    if task == "binary":
        return "ROC_AUC", "how well it tells yes from no, at any threshold", False
    if task == "multiclass":
        shares = texts.value_counts(normalize=True)
        if shares.min() < 0.5 / len(shares):
            return "F1_MACRO", "rare classes count as much as frequent ones", False
        return "ACCURACY", "the classes are about equally frequent", False
    numbers = pd.to_numeric(texts, errors="coerce").dropna()
    if target.low >= 0 and _skew(numbers) > 1:
        return "RMSE_LOG", "a few large values: the error counts as a share", True
    return "RMSE", "the error counts in the target's own unit", False


def _skew(numbers: pd.Series) -> float:
    """How much longer the tail of large values is than that of small ones; 0 when they are equal."""
    return float(
        numbers.to_numpy(dtype=float).std() and (((numbers - numbers.mean()) / numbers.std()) ** 3).mean()
    )
