"""Versions and candidates as frames, one row each, for the Models page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import pandas as pd
from ui_tracking import Run

from mlops_lab.client import ModelVersion
from mlops_lab.form import outcome_group
from mlops_lab.formatting import holdout_words, score
from mlops_lab.metrics import METRICS, greater_is_better
from mlops_lab.model.tags import CandidateTags

# Outcomes of a version that nothing was decided on.
UNDECIDED = ("", "not chosen")


def version_table(versions: Sequence[ModelVersion]) -> pd.DataFrame:
    """One row for each version. validation, test and baseline: by the metric of the use case; NaN where unknown."""
    return pd.DataFrame([_version(version) for version in versions])


def _version(version: ModelVersion) -> dict:
    tags = version.facts
    return {
        "version": version.version,
        "aliases": aliases(version),
        "candidate": tags.candidate,
        "outcome": tags.outcome,
        "validation": _number(tags.validation),
        "test": _number(tags.test),
        "sealed": _number(tags.sealed),
        "baseline": _number(tags.baseline),
        "created": version.created_at,
        "batch": tags.batch_number,
        # The figures are in the whole reason, which the page shows for one version.
        "reason": tags.reason.split(": ")[0],
    }


def aliases(version: ModelVersion) -> str:
    """The version's aliases; the champion is also the newest challenger, which says nothing more."""
    return "champion" if version.is_champion else ", ".join(version.aliases)


def name(version: ModelVersion) -> str:
    """The version in a list."""
    tags = version.facts
    parts = (f"Version {version.version}", tags.candidate, aliases(version) or tags.outcome)
    return " · ".join(part for part in parts if part)


def decided(version: ModelVersion) -> bool:
    """Whether something was decided on the version: it isn't only another candidate of a training."""
    return bool(version.aliases) or version.facts.outcome not in UNDECIDED


def decisions(table: pd.DataFrame) -> pd.DataFrame:
    """The versions that something was decided on, without the other candidates of their trainings."""
    return table[~table["outcome"].isin(UNDECIDED) | (table["aliases"] != "")]


def holdout_use(versions: Sequence[ModelVersion]) -> str:
    """How often promotion decisions have read the test rows; empty when no version says it."""
    decided = [facts for version in versions if (facts := version.facts).holdout_uses]
    newest = max(decided, key=lambda facts: facts.holdout_uses or 0, default=None)
    return holdout_words(newest.holdout_uses or 0, newest.holdout_since) if newest else ""


def behind(versions: Sequence[ModelVersion]) -> pd.DataFrame:
    """How far each candidate was behind the best one of its training, on the same validation rows.

    behind: how much more error, as a fraction of the best one's (`Metric.gain`); 0 for the best one. outcome: a key of
    the charts' colours. Trainings of one candidate are left out, and so are versions without a score.
    """
    rows = []
    known = [v for v in versions if v.facts.batch_id is not None and v.facts.validation is not None]
    known.sort(key=lambda version: (version.facts.batch_id or 0, version.version))
    for _, training in groupby(known, key=lambda version: version.facts.batch_id):
        # A batch can be trained twice: each candidate's newest version counts, as in the promotion.
        rivals_ = list({version.facts.candidate: version for version in training}.values())
        metric = METRICS.get(rivals_[0].facts.metric)
        if metric is None or len(rivals_) < 2:
            continue
        scores = {v.version: v.facts.validation or 0.0 for v in rivals_}
        best = max(scores.values(), key=lambda value: metric.sign * value)
        for version in rivals_:
            gap = -metric.gain(scores[version.version], best)
            facts = version.facts
            rows.append(
                {
                    "candidate": facts.candidate,
                    "version": version.version,
                    "batch": facts.batch_number,
                    "outcome": outcome_group(facts.outcome),
                    "behind": gap,
                }
            )
    frame = pd.DataFrame(rows, columns=["candidate", "version", "batch", "outcome", "behind"])
    return frame[frame["behind"].map(math.isfinite)]


def candidate_table(
    candidates: Iterable[Run], versions: Mapping[str, int], metric: str, unit: str = ""
) -> pd.DataFrame:
    """One row for each candidate, the best by validation first, with its scores as people read them.

    versions: run id → the version that was registered from it. unit: the target's.
    """
    runs = list(candidates)
    names = {name for run in runs for key in run.metrics if (name := _scored(key))}
    names = sorted(names & METRICS.keys(), key=lambda name: (name != metric, METRICS[name].title))
    sign = -1 if greater_is_better(metric) else 1
    runs.sort(key=lambda run: sign * run.metrics.get(f"validation.{metric}", sign * math.inf))
    frame = pd.DataFrame([_candidate(run, versions.get(run.id), names, metric, unit) for run in runs])
    return frame if frame["note"].any() else frame.drop(columns="note")


def _candidate(run: Run, version: int | None, names: Sequence[str], metric: str, unit: str) -> dict:
    tags, scores = CandidateTags.from_mlflow(run.tags), run.metrics.get
    return {
        "candidate": tags.candidate or run.name,
        "version": "–" if version is None else str(version),
        "validation": score(metric, scores(f"validation.{metric}"), unit),
        **{METRICS[name].title: score(name, scores(f"test.{name}"), unit) for name in names},
        "note": tags.outcome_reason,
    }


def _scored(key: str) -> str:
    split, _, name = key.partition(".")
    return name if split in ("test", "validation") else ""


def gain(score: float, baseline: float, metric: str) -> float | None:
    """By how much a score is better than the baseline's, as a fraction of its error; None where that isn't defined."""
    if metric not in METRICS or not (math.isfinite(score) and math.isfinite(baseline)):
        return None
    found = METRICS[metric].gain(score, baseline)
    return found if math.isfinite(found) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
