"""Versions and candidates as frames, one row each, for the Models page."""

import math
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from ui_tracking import Run

from mlops_lab.client import ModelVersion
from mlops_lab.form import outcome_group
from mlops_lab.formatting import holdout_words
from mlops_lab.metrics import greater_is_better
from mlops_lab.model.tags import CandidateTags


def version_table(versions: Sequence[ModelVersion]) -> pd.DataFrame:
    """One row for each version. validation, test and baseline: by the metric of the use case; NaN where unknown."""
    return pd.DataFrame([_version(version) for version in versions])


def _version(version: ModelVersion) -> dict:
    tags = version.facts
    return {
        "version": version.version,
        "aliases": ", ".join(version.aliases),
        "candidate": tags.candidate,
        "outcome": tags.outcome,
        "validation": _number(tags.validation),
        "test": _number(tags.test),
        "sealed": _number(tags.sealed),
        "baseline": _number(tags.baseline),
        "created": version.created_at,
        "reason": tags.reason,
    }


def holdout_use(versions: Sequence[ModelVersion]) -> str:
    """How often promotion decisions have read the test rows; empty when no version says it."""
    decided = [facts for version in versions if (facts := version.facts).holdout_uses]
    newest = max(decided, key=lambda facts: facts.holdout_uses or 0, default=None)
    return holdout_words(newest.holdout_uses or 0, newest.holdout_since) if newest else ""


def scored(versions: pd.DataFrame) -> pd.DataFrame:
    """The versions that have a test score, with one of the outcomes that the chart has a colour for."""
    return versions.dropna(subset=["test"]).assign(outcome=lambda frame: frame["outcome"].map(outcome_group))


def rivals(run: Run, candidates: Iterable[Run]) -> list[Run]:
    """The candidates that were trained on the same batch as the run, itself included."""
    return [rival for rival in candidates if rival.parent and rival.parent == run.parent] or [run]


def candidate_table(candidates: Iterable[Run], versions: Mapping[str, int], metric: str) -> pd.DataFrame:
    """One row for each candidate, the best by validation first, and its scores, those of the metric first.

    versions: run id → the version that was registered from it.
    """
    frame = pd.DataFrame([_candidate(run, versions.get(run.id)) for run in candidates])
    scores = sorted(score_columns(frame), key=lambda name: not name.endswith(f" {metric}"))
    if (first := f"val. {metric}") in frame and (greater := greater_is_better(metric)) is not None:
        frame = frame.sort_values(first, ascending=not greater)
    note = ["note"] if frame["note"].any() else []
    return frame[["candidate", "version", *scores, *note]]


def score_columns(candidates: pd.DataFrame) -> list[str]:
    """The columns of a candidate table that hold scores."""
    return [name for name in map(str, candidates) if name.startswith(("val. ", "test "))]


def _candidate(run: Run, version: int | None) -> dict:
    tags = CandidateTags.from_mlflow(run.tags)
    return {
        "candidate": tags.candidate or run.name,
        "version": "" if version is None else str(version),
        **{f"val. {name}": value for name, value in _scores(run, "validation.").items()},
        **{f"test {name}": value for name, value in _scores(run, "test.").items()},
        "note": tags.outcome_reason,
    }


def gain(score: float, baseline: float, metric: str) -> float | None:
    """How much better a score is than the baseline's, as a fraction of it; None where that isn't defined."""
    greater = greater_is_better(metric)
    if greater is None or not (math.isfinite(score) and math.isfinite(baseline)) or baseline == 0:
        return None
    return (score - baseline) / abs(baseline) * (1 if greater else -1)


def _scores(run: Run, prefix: str) -> dict[str, float]:
    return {
        key.removeprefix(prefix): value
        for key, value in sorted(run.metrics.items())
        if key.startswith(prefix)
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
