"""The descriptions in MLflow: what an experiment, a run or a registered model is, and what became of it, in Markdown.

A version's description is its short model card (`mlops_lab/model/card.py`), which its candidate's run has, too. Values
and reasons are escaped as there. Pure functions of tags and figures.
"""

from collections.abc import Mapping

from mlops_lab.formatting import counted, literal
from mlops_lab.model.card import DECISION, code
from mlops_lab.model.tags import (
    TAG_LIMIT,
    BatchTags,
    CandidateTags,
    ExperimentTags,
    MonitoringTags,
    PointTags,
    RunTags,
    VersionTags,
    kind_of,
)
from mlops_lab.use_case import UseCase


def of_experiment(use_case: UseCase) -> str:
    """What a use case's experiment holds."""
    return _parts(
        f"**{literal(use_case.title)}.** {literal(use_case.description)}",
        "One run for each batch, beneath it one for each candidate that was trained on it, and one for each "
        "monitoring check. The registered model of the same name has the versions and the decisions on them.",
    )


def of_model(use_case: UseCase, version: int, facts: VersionTags) -> str:
    """What a use case's registered model is, and which version is champion."""
    scores = [
        f"{facts.metric} {value:.4g} {of}"
        for value, of in ((facts.test, "on test rows"), (facts.baseline, "of the naive baseline"))
        if value is not None
    ]
    champion = ", ".join(
        [f"version {version}", *([code(facts.candidate)] if facts.candidate else []), *scores]
    )
    return _parts(
        f"**{literal(use_case.title)}.** {literal(use_case.description)}",
        f"**Champion:** {champion}.",
        "Each version's description is its model card with the decision on it.",
    )


def of_run(tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
    """What a run of the lab is, by its tags and figures; empty for a run of another kind."""
    kind = kind_of(tags)
    return "" if kind is None else _words(kind.from_mlflow(tags), metrics)[:TAG_LIMIT]


def _words(run: RunTags, metrics: Mapping[str, float]) -> str:
    match run:
        case BatchTags():
            version = "" if run.version is None else f"version {run.version} "
            return _parts(
                f"Batch {_number(run.batch_number)}. {_counts(metrics)}",
                _said("**Training:** ", run.decision, run.reason),
                _said(f"{DECISION}{version}", run.outcome, run.outcome_reason),
            )
        case CandidateTags():
            return _parts(
                f"{code(run.candidate)}, trained after batch {_number(run.batch_number)}.",
                _said(DECISION, run.outcome, run.outcome_reason),
            )
        case PointTags():
            after = _number(run.batch_number)
            return _parts(
                f"One point of the search for {code(run.candidate)}'s parameters, after batch {after}.",
                _said("", run.outcome.capitalize(), ""),
            )
        case ExperimentTags():
            rows = "" if run.rows is None else f" on {counted(run.rows, 'row')}"
            return _parts(
                f"{code(run.candidate)}, tried by a person{rows}.",
                _said(DECISION, run.outcome, run.outcome_reason),
            )
        case MonitoringTags():
            of = "the champion" if run.version is None else f"version {run.version}"
            return _parts(
                f"A check of what {of} predicted.", _said("**Result:** ", run.outcome, run.outcome_reason)
            )
    return ""


def _counts(metrics: Mapping[str, float]) -> str:
    """How many rows came, and where they went."""
    names = {"received": "rows received", "quarantined": "quarantined", "clean": "new clean rows"}
    found = [f"{metrics[name]:,.0f} {words}" for name, words in names.items() if name in metrics]
    return f"{', '.join(found)}." if found else ""


def _said(before: str, what: str, why: str) -> str:
    return "" if not what else before + literal(f"{what}, {why}" if why else what)


def _number(batch: int | None) -> str:
    return "without a number" if batch is None else str(batch)


def _parts(*parts: str) -> str:
    return "\n\n".join(part.strip() for part in parts if part.strip())
