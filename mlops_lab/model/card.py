"""The model card: what a version is for, what it learnt from, how good and how sure it is, and what became of it.

Pure functions of the contract and the version's tags, without pandas or MLflow, so that pages use them. The card is
Markdown. A value that comes from the data is a code span, and other texts are escaped: neither can become markup.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from mlops_lab.contract import Contract
from mlops_lab.evaluation import Slice
from mlops_lab.features import Category, Date, Feature, Integer, Number
from mlops_lab.formatting import bound, bounds, counted, literal, number
from mlops_lab.history import Lineage
from mlops_lab.metrics import METRICS, OF_TASK
from mlops_lab.model.tags import VersionTags

CARD_FILE = "card.md"  # of the candidate's run
DECISION = "**Decision:** "
UNDECIDED = "none yet"
# Of a reason in the registry's description, which MLflow keeps 5,000 characters of.
MAX_REASON = 1500
# Slices in the description: those with the worst scores.
WORST = 3


def card(contract: Contract, version: int | None = None, facts: VersionTags | None = None) -> str:
    """The card as Markdown. version, facts: of the registered version; without them, nothing is decided yet."""
    of = "" if version is None else f", version {version}"
    sections = [
        f"# {literal(contract.title)}{of}",
        _purpose(contract),
        DECISION + decision(facts),
        f"## Data\n\n{_data(contract)}",
        f"## Scores\n\n{_scores(contract)}",
        f"## Slices of the test rows\n\n{_slices(contract)}",
        f"## How sure\n\n{_sureness(contract)}",
        f"## Limits\n\n{_limits(contract)}",
        f"## Cost of the training\n\n{_cost(contract)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def description(contract: Contract) -> str:
    """The short card that MLflow's registry shows with a version."""
    worst = _worst(contract)
    return "\n\n".join(
        part
        for part in (
            _purpose(contract),
            DECISION + UNDECIDED,
            _learnt(contract),
            _scores(contract, only=contract.metric),
            f"Worst slices: {'; '.join(worst)}" if worst else "",
            f"The whole card: `lab card {contract.use_case}`, or `{CARD_FILE}` in the run's artifacts.",
        )
        if part
    )


def decided(text: str, facts: VersionTags) -> str:
    """A description with the decision in its place."""
    line = DECISION + decision(facts)[:MAX_REASON]
    return "\n".join(line if old.startswith(DECISION) else old for old in text.split("\n"))


def is_ours(before: str, text: str) -> bool:
    """Whether a description may be replaced by the lab's: it is empty, or begins with the same words up to a point."""
    return not before or before.partition(".")[0] == text.partition(".")[0]


def decision(facts: VersionTags | None) -> str:
    """What became of the version, and why."""
    if facts is None or not facts.outcome:
        return UNDECIDED
    return literal(f"{facts.outcome}, {facts.reason}" if facts.reason else facts.outcome)


def as_json(contract: Contract, version: int, facts: VersionTags) -> dict[str, Any]:
    """The figures of the card with JSON types."""
    names = {
        "use_case",
        "title",
        "description",
        "task",
        "classes",
        "threshold",
        "interval",
        "metric",
        "metrics",
    }
    names |= {"baseline", "evaluation", "retrain", "promotion", "lineage"}
    found = contract.model_dump(mode="json", include=names)
    return {"version": version, "outcome": facts.outcome, "reason": facts.reason, **found}


def _purpose(contract: Contract) -> str:
    target, kind = contract.target, {"regression": "a number", "binary": "yes or no", "multiclass": "a class"}
    unit = f" in {target.unit}" if target.unit else ""
    said = f"It predicts {code(target.title)}, {kind[contract.task]}{unit}, from {len(contract.features)} fields."
    return f"{literal(contract.description)}\n\n{said}".strip()


def _learnt(contract: Contract) -> str:
    """Candidate, rows and batches in one line."""
    if (lineage := contract.lineage) is None:
        return "Its origin isn't known."
    rows = f"{lineage.learnt_rows:,} {' and '.join(lineage.learnt)} rows"
    digest = f", digest `{lineage.digest[:12]}`" if lineage.digest else ""
    batches = counted(len(lineage.read_batches), "batch", "batches")
    return f"{code(lineage.candidate)}, learnt from {rows} of {batches}{digest}."


def _split_rule(lineage: Lineage) -> str:
    if lineage.split_day:
        return f"The newest rows by {code(lineage.split_day)} test, those before them validate."
    return "Rows with equal group keys are in one split."


def _data(contract: Contract) -> str:
    if (lineage := contract.lineage) is None:
        return "Its origin isn't known."
    splits = "; ".join(f"{name} {count:,}" for name, count in lineage.rows.items())
    evaluation = contract.evaluation
    groups = "" if evaluation is None else f" The test rows are {evaluation.groups:,} groups."
    lines = [
        _learnt(contract),
        f"Batches of the ledger: {', '.join(map(str, lineage.read_batches))}.",
        f"Rows by split: {splits}.{groups} {_split_rule(lineage)}",
        *filter(None, [lineage.left_out_words]),
        f"Trained at {lineage.created_at:%Y-%m-%d %H:%M} UTC"
        + (f", code at commit `{lineage.commit[:12]}`" if lineage.commit else "")
        + f", MLflow run `{lineage.run_id}`.",
    ]
    return _list(lines)


def _scores(contract: Contract, only: str | None = None) -> str:
    """A table of the metrics on test rows, the use case's own first."""
    test, naive = contract.metrics.get("test", {}), contract.baseline.get("test", {})
    if not test:
        return "There were no test rows, so its error isn't known."
    intervals = contract.evaluation.intervals if contract.evaluation else {}
    own = contract.metric
    names = [name for name in (m.name for m in OF_TASK[contract.task]) if name in test and name != own]
    rows = []
    for name in [own, *names] if only is None else [only]:
        better = "greater" if name in METRICS and METRICS[name].greater_is_better else "smaller"
        scores = (_score(test.get(name)), _range(*intervals.get(name, (None, None))), _score(naive.get(name)))
        title = METRICS[name].title if name in METRICS else name
        rows.append((f"**{title}** (`{name}`)" if name == own else f"{title} (`{name}`)", *scores, better))
    count = f" ({contract.evaluation.rows:,})" if contract.evaluation else ""
    return _table(("metric", f"test rows{count}", "95% interval", "naive baseline", "better is"), rows)


def _slices(contract: Contract) -> str:
    if not (evaluation := contract.evaluation) or not evaluation.slices:
        return "None were measured."
    few = contract.promotion.slice_rows
    rows = [
        (
            literal(part.by),
            code(part.value),
            f"{part.rows:,}",
            part.metric,
            _score(part.score),
            f"few rows (under {few:,})" if part.rows < few else _range(part.low, part.high),
        )
        for part in evaluation.slices
    ]
    return _table(("by", "value", "rows", "metric", "score", "95% interval"), rows)


def _worst(contract: Contract) -> list[str]:
    """The slices of enough rows that the use case's metric is worst on."""
    evaluation, few = contract.evaluation, contract.promotion.slice_rows
    found = [
        (part.score, part)
        for part in (evaluation.slices if evaluation else ())
        if part.score is not None and part.rows >= few and part.metric == contract.metric
    ]
    found.sort(key=lambda pair: pair[0], reverse=not contract.greater_is_better)
    return [_named(part) for _, part in found[:WORST]]


def _named(part: Slice) -> str:
    return f"{literal(part.by)} {code(part.value)} {_score(part.score)} ({part.rows:,} rows)"


def _sureness(contract: Contract) -> str:
    lines, test = list[str](), contract.metrics.get("test", {})
    if (interval := contract.interval) is not None:
        covered = (
            "" if interval.coverage is None else f"; of the test rows they cover {interval.coverage:.1%}"
        )
        width = "" if interval.width is None else f", their median width is {number(interval.width)}"
        lines.append(f"Its intervals are made to cover {interval.level:.0%} of new rows{covered}{width}.")
    elif contract.task == "regression":
        lines.append("It has no prediction intervals.")
    if contract.threshold is not None:
        precision, recall = (_score(test.get(name)) for name in ("precision", "recall"))
        lines.append(
            f"It answers true from a probability of {contract.threshold:.3g} on; on test rows precision {precision}, "
            f"recall {recall}."
        )
    if (found := contract.evaluation) and found.calibration_error is not None:
        lines.append(
            f"Probabilities and shares differ by {found.calibration_error:.3f} on the mean of tenths of the test rows "
            f"(calibration error). Last step of the graph: {found.calibration or 'none'}."
        )
    test_score = contract.test_score
    if found is not None and found.simulated is not None and test_score is not None:
        lines.append(
            "Its live score is estimated before the ground truth comes. Of the test rows, the estimate without their "
            f"ground truth is {_score(found.simulated)}, their score is {_score(test_score)}."
        )
    return _list(lines)


def _limits(contract: Contract) -> str:
    policy = contract.retrain
    lines = [
        "It learnt from rows in the ranges below. Outside of them its error isn't known.",
        f"Drift is told from a population stability index of {policy.psi:g} on, a live error from "
        f"{policy.live_error:.0%} above the test error on.",
    ]
    rows = [(code(f.name), _accepted(f), _seen(contract, f)) for f in contract.features]
    return f"{_list(lines)}\n\n{_table(('field', 'accepted', 'training rows'), rows)}"


def _accepted(feature: Feature) -> str:
    null = "" if feature.required else " Null means unknown."
    if isinstance(feature, Category):
        open_ = (
            "Any value; one without a code counts as rare." if feature.allow_unknown else "Known values only."
        )
        return open_ + null
    kind = (
        "A date." if isinstance(feature, Date) else "A whole number." if isinstance(feature, Integer) else ""
    )
    kind = kind or ("A number." if isinstance(feature, Number) else "True or false.")
    return " ".join(part for part in (kind, bounds(feature)) if part) + null


def _seen(contract: Contract, feature: Feature) -> str:
    """What the training rows had of a feature."""
    found = contract.reference.get(feature.name)
    if isinstance(feature, Category):
        missing = f", {found.shares[0]:.1%} missing" if found else ""
        return f"{counted(len(feature.vocabulary), 'value')} with a code{missing}"
    if found is None:
        return "–"
    missing = f", {found.shares[-1]:.1%} missing"
    if not isinstance(feature, Number | Integer | Date) or len(found.edges) < 2:
        return missing.removeprefix(", ")
    low, high = (bound(feature, found.edges[place]) for place in (0, -1))
    return f"a tenth up to {low}, a tenth above {high}{missing}"


def _cost(contract: Contract) -> str:
    lineage = contract.lineage
    if lineage is None or lineage.cpu_seconds is None:
        return "It wasn't measured."
    peak = (
        "" if lineage.peak_mb is None else f"; the process had at most {lineage.peak_mb:,.0f} MB until then"
    )
    return f"{lineage.cpu_seconds:,.1f} CPU seconds of all threads{peak}."


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}" if abs(value) < 1000 else number(value)


def _range(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{_score(low)} to {_score(high)}"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        yield _line(head)
        yield _line(["---"] * len(head))
        yield from map(_line, rows)

    return "\n".join(lines())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def code(text: str) -> str:
    """A value of the data as a code span, in which nothing is markup."""
    return "`" + re.sub(r"[`|\s\x00-\x1f\x7f]+", " ", text).strip() + "`" if text.strip() else "(empty)"
