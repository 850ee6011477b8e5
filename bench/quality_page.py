"""The figures of `make quality`: printed, and written into docs/quality.md, one section for each data set."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from mlops_lab.metrics import METRICS
from mlops_lab.settings import REPOSITORY
from mlops_lab.use_case import UseCase

PAGE = REPOSITORY / "docs" / "quality.md"
CHOSEN = "the loop's choice"
# Student's t for five values: the half of a 95 % interval in standard errors.
STUDENT = 2.776
COLUMNS = {
    "regression": ("rmse_log", "mae", "mdape", "r2_log", "coverage"),
    "binary": ("roc_auc", "brier", "log_loss"),
    "multiclass": ("accuracy", "f1_macro", "log_loss"),
}
# The metric in which a candidate is also compared with another row of the table, as a share of its error.
AGAINST = {
    "regression": ("mae", "plain ridge"),
    "binary": ("brier", "naive"),
    "multiclass": ("accuracy", "plain logistic regression"),
}


@dataclass
class Fold:
    """One salt. scores: row of the table → metric → value on test rows. chosen: the best on validation rows."""

    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    chosen: str = ""


@dataclass(frozen=True)
class Section:
    """What was measured on one data set."""

    use_case: UseCase
    title: str
    rows: int
    groups: int
    folds: list[Fold]

    @property
    def name(self) -> str:
        return f"{self.use_case.name}, {self.title}"


def write(section: Section) -> None:
    """Prints the section, and puts it in the place of its earlier figures; a new one goes to the end of the page."""
    begin, end = f"<!-- begin {section.name} -->", f"<!-- end {section.name} -->"
    text = "\n".join([begin, *_lines(section), end])
    print(text, flush=True)
    page = PAGE.read_text()
    if begin in page:
        head, _, rest = page.partition(begin)
        page = head + text + rest.partition(end)[2]
    else:
        page = f"{page.rstrip()}\n\n{text}\n"
    PAGE.write_text(page)


def _lines(section: Section) -> list[str]:
    task, folds = section.use_case.task, section.folds
    names = [c.name for c in section.use_case.candidates if all(c.name in fold.scores for fold in folds)]
    rows = ["naive", *names, CHOSEN, *(["best possible"] if "best possible" in folds[0].scores else [])]
    metric, other = AGAINST[task]
    columns = COLUMNS[task]
    lines = [
        f"### {section.name}",
        "",
        f"{section.rows:,} distinct clean rows, {section.groups:,} groups; {datetime.now(UTC):%Y-%m-%d}.",
        "",
        f"| | {' | '.join(columns)} | {metric}: gain over {other} |",
        "|---" * (len(columns) + 2) + "|",
    ]
    lines += [_row(folds, row, columns, metric, other) for row in rows]
    chosen = sorted({fold.chosen for fold in folds})
    return [*lines, "", f"{CHOSEN.capitalize()}, the best on validation rows: {', '.join(chosen)}."]


def _row(folds: list[Fold], row: str, columns: tuple[str, ...], metric: str, other: str) -> str:
    cells = [_cell([fold.scores[row].get(name) for fold in folds]) for name in columns]
    gains = [] if row == other else [_gain(fold, row, metric, other) for fold in folds]
    return f"| {row} | {' | '.join(cells)} | {_cell(gains, share=True)} |"


def _gain(fold: Fold, row: str, metric: str, other: str) -> float | None:
    if metric not in fold.scores[row] or other not in fold.scores:
        return None
    return METRICS[metric].gain(fold.scores[row][metric], fold.scores[other][metric])


def _cell(values: list[float | None], *, share: bool = False) -> str:
    """The mean over the salts, and the half of its 95 % interval; empty when a salt has no value."""
    found = [value for value in values if value is not None]
    if not found or len(found) < len(values):
        return ""
    mean, half = float(np.mean(found)), STUDENT * float(np.std(found, ddof=1)) / len(found) ** 0.5
    if share:
        return f"{mean:.1%} ± {100 * half:.1f}"
    return f"{mean:,.0f} ± {half:,.0f}" if abs(mean) >= 100 else f"{mean:.4f} ± {half:.4f}"
