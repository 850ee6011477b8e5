"""The loop as MLflow's records tell it: the newest batch's steps, the champions, each challenge with its interval.

The page Loop and `lab watch` show the same, one from MLflow over HTTP, the other through MLflow's client. Pure
functions of runs and versions, without MLflow and pandas. Records of an earlier release have no step and no comparison:
their steps follow from what they counted, and their challenges have only the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from mlops_lab.formatting import counted, number, row_counts
from mlops_lab.metrics import greater_is_better
from mlops_lab.model.runs import RUNNING, Run
from mlops_lab.model.tags import KIND, SECONDS, BatchTags, CandidateTags, VersionTags

State = Literal["done", "running", "failed", "left out", "to come"]
MARKS: dict[State, str] = {"done": "✓", "running": "▶", "failed": "✗", "left out": "–", "to come": "·"}
# Newest runs that are read for the newest batch and its candidates; points of a search and checks are among them.
NEWEST = 100
# A running batch without a sign for this long was probably killed: the longest time that a task of the loop may take.
SILENT = timedelta(hours=1)
COUNTS = ("received", "quarantined", "clean")
AFTER_TRAIN = ("promote", "roll_out", "finish")


class Registered(Protocol):
    """A version, as the registry or the inference service has it."""

    @property
    def version(self) -> int: ...
    @property
    def facts(self) -> VersionTags: ...
    @property
    def created_at(self) -> datetime | None: ...


@dataclass(frozen=True)
class StepProgress:
    """One step of a batch. seconds: None where they aren't recorded; of a running one, those so far."""

    name: str
    state: State
    seconds: float | None = None
    about: str = ""


@dataclass(frozen=True)
class BatchProgress:
    """The newest batch. state: running, done, failed, silent (no sign of life for an hour), held or broken."""

    run_id: str
    experiment_id: str
    number: str
    state: str
    started: datetime
    ended: datetime | None
    steps: tuple[StepProgress, ...]
    decision: str
    reason: str
    outcome: str
    outcome_reason: str
    fault: str

    def now(self, moment: datetime) -> str:
        """What happens with it, in one sentence."""
        if self.state == "failed":
            return f"Batch {self.number} stopped: {self.fault}"
        if self.state == "silent":
            return f"Batch {self.number} gave no sign for {_ago(moment - self.started)}; its run was probably ended"
        if self.state == "running":
            step = next((s for s in self.steps if s.state == "running"), None)
            return f"Batch {self.number} is at work: {step.name if step else 'between two steps'}"
        if self.ended is None:
            return f"Batch {self.number} is {self.state}"
        return f"Batch {self.number} ended {_ago(moment - self.ended)} ago"


@dataclass(frozen=True)
class Challenge:
    """One challenger, scored against a champion on the same rows. better: in the metric's unit, above 0 is better."""

    version: int
    candidate: str
    against: int | None
    metric: str
    outcome: str
    reason: str
    at: datetime | None
    rows: int | None
    challenger_score: float | None
    champion_score: float | None
    low: float | None
    high: float | None

    @property
    def better(self) -> float | None:
        """How much better the challenger is; None without a comparison."""
        if self.challenger_score is None or self.champion_score is None:
            return None
        change = self.challenger_score - self.champion_score
        return change if greater_is_better(self.metric) else -change

    @property
    def verdict(self) -> str:
        """What the interval says; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return "surely better" if self.low > 0 else "surely worse" if self.high < 0 else "within the noise"

    @property
    def words(self) -> str:
        """The comparison in one sentence; the recorded reason without one."""
        if self.better is None:
            return self.reason
        way = "better" if self.better >= 0 else "worse"
        text = f"{way} by {number(abs(self.better), 2)}"
        if self.low is not None and self.high is not None:
            text += f", {_signed(self.low)} … {_signed(self.high)}: {self.verdict}"
        rows = f", on the same {counted(self.rows, 'row')}" if self.rows else ""
        return f"{text}{rows}"


@dataclass(frozen=True)
class Term:
    """The time of one champion. until: None for the present one."""

    version: int
    candidate: str
    since: datetime
    until: datetime | None


def newest_batch(runs: Sequence[Run], moment: datetime) -> BatchProgress | None:
    """The batch that began last, from the newest runs of a use case, newest first; None without one.

    moment: now, in UTC.
    """
    run = next((run for run in runs if run.tags.get(KIND) == BatchTags.kind), None)
    if run is None:
        return None
    tags = BatchTags.from_mlflow(run.tags)
    candidates = [r for r in runs if r.tags.get(KIND) == CandidateTags.kind and r.parent == run.id][::-1]
    # `lab train --force` trains again for a batch that has ended.
    running = RUNNING in (run.status, *(one.status for one in candidates))
    last = max(_last_sign(one) for one in (run, *candidates))
    silent = running and moment - last > SILENT
    if tags.outcome in ("held", "broken"):
        state = tags.outcome
    elif running:
        state = "failed" if tags.step_fault else "silent" if silent else "running"
    else:
        state = "done" if run.status == "FINISHED" else "failed"
    return BatchProgress(
        run_id=run.id,
        experiment_id=run.experiment_id,
        number=run.batch,
        state=state,
        started=run.started,
        ended=run.ended,
        steps=tuple(_steps(run, tags, candidates, state, moment)),
        decision=tags.decision,
        reason=tags.reason,
        outcome=tags.outcome,
        outcome_reason=tags.outcome_reason,
        fault=tags.step_fault or f"its run in MLflow is {run.status.lower()}",
    )


def challenges(versions: Sequence[Registered]) -> list[Challenge]:
    """The versions that were decided on against a champion or as a first one, the oldest first."""
    return [
        Challenge(
            version=version.version,
            candidate=facts.candidate,
            against=facts.against,
            metric=facts.metric,
            outcome=facts.outcome,
            reason=facts.reason,
            at=_moment(facts.decided_at) or version.created_at,
            rows=facts.compared_rows,
            challenger_score=facts.challenger_score,
            champion_score=facts.champion_score,
            low=facts.interval_low,
            high=facts.interval_high,
        )
        for version in sorted(versions, key=lambda one: one.version)
        if (facts := version.facts).outcome and facts.outcome != "not chosen"
    ]


def champions(versions: Sequence[Registered]) -> list[Term]:
    """Who was champion when, the oldest first. Of an earlier release's versions: from when they were made."""
    began: list[tuple[datetime, int, str]] = []
    for version in versions:
        facts = version.facts
        known = [_moment(text) for text in facts.champion_since.split(",") if text]
        if not known and facts.outcome == "promoted":
            known = [version.created_at]
        began += [(moment, version.version, facts.candidate) for moment in known if moment]
    began.sort()
    ends = [*(moment for moment, _, _ in began[1:]), None]
    return [
        Term(version, candidate, since, until)
        for (since, version, candidate), until in zip(began, ends, strict=False)
    ]


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min`; empty when it isn't known."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else _ago(timedelta(seconds=seconds))


def _steps(
    run: Run, tags: BatchTags, candidates: Sequence[Run], state: str, moment: datetime
) -> list[StepProgress]:
    """The eight steps of the loop. A step without a record of its own is done when its result is there."""
    count = run.metrics.get
    counts = {name: None if (value := count(name)) is None else int(value) for name in COUNTS}
    trained = [one for one in candidates if one.ended]
    took = sum((one.ended - one.started).total_seconds() for one in trained if one.ended)
    names = ", ".join(CandidateTags.from_mlflow(one.tags).candidate or one.name for one in candidates)
    trains, ended, training = tags.decision == "train", state == "done", len(trained) < len(candidates)
    promoted = tags.outcome == "promoted"
    results = {
        "land": (True, f"{run.started:%Y-%m-%d %H:%M} UTC"),
        "validate": (counts["received"] is not None, row_counts(counts | {"clean": None})),
        "prepare": (counts["clean"] is not None, f"{counts['clean'] or 0:,} clean"),
        "decide": (bool(tags.decision), tags.decision),
        "train": (trains and (bool(tags.outcome) or tags.step in AFTER_TRAIN), names),
        "promote": (trains and bool(tags.outcome), tags.outcome),
        "roll_out": (promoted and ended, f"version {tags.version}" if tags.version else ""),
        "finish": (ended, ""),
    }
    left_out = set() if not tags.decision or trains else {"train", "promote", "roll_out"}
    if tags.outcome and not promoted:
        left_out.add("roll_out")
    steps: list[StepProgress] = []
    for name, (known, about) in results.items():
        seconds = count(f"{SECONDS}{name}")
        title = name.replace("_", " ")
        at_work = name == tags.step and seconds is None
        if name == "train":
            at_work = training or (trains and tags.step == "decide")
            seconds = took if candidates else None
        if name in left_out:
            steps.append(StepProgress(title, "left out"))
        elif name == tags.step and tags.step_fault and not ended:
            steps.append(StepProgress(title, "failed", None, tags.step_fault))
        elif (known or (name != "train" and seconds is not None)) and not (name == "train" and training):
            steps.append(StepProgress(title, "done", seconds, about))
        elif at_work and state == "running":
            begin = min((one.started for one in candidates if not one.ended), default=None)
            so_far = (moment - begin).total_seconds() if name == "train" and begin else None
            steps.append(StepProgress(title, "running", so_far, names if name == "train" else ""))
        else:
            steps.append(StepProgress(title, "to come"))
    return steps


def _last_sign(run: Run) -> datetime:
    return run.ended or run.started


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None


def _signed(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if value < 0 else f"{value:.2g}"


def _ago(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return counted(minutes, "minute")
    return counted(minutes // 60, "hour") if minutes < 48 * 60 else counted(minutes // 1440, "day")
