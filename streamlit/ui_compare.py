"""Two versions beside each other, for the Models page: scores, slices, and what they were made of."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import ui_runs
import ui_versions
from ui_tracking import NotFoundError, Run

import streamlit as st
from mlops_lab.client import ModelVersion
from mlops_lab.contract import Contract
from mlops_lab.features import Category, Feature, Number
from mlops_lab.formatting import bounds, counted, literal, number, score
from mlops_lab.history import Lineage
from mlops_lab.metrics import METRICS, OF_TASK

SAME = "–"
MANY = ("Library ", "Parameter ", "Field ")


def draw(use_case: str, version: ModelVersion, versions: list[ModelVersion]) -> None:
    others = {other.version: other for other in versions if other.version != version.version}
    if not others:
        st.caption("There is no other version yet.")
        return
    wanted = "previous" if version.is_champion else "champion"
    likely = [number for number, other in others.items() if wanted in other.aliases]
    likely += [number for number, other in others.items() if ui_versions.decided(other)]
    first = next(iter([*likely, *others]))
    chosen = st.selectbox(
        "Compare with",
        list(others),
        index=list(others).index(first),
        key=f"{use_case} {version.version} other",
        format_func=lambda number_: ui_versions.name(others[number_]),
    )
    pair = (version, others[chosen])
    names = (f"Version {version.version}", f"Version {chosen}")
    one, other = (ui_runs.contract(found.run_id) for found in pair)
    runs = [_run_of(found) for found in pair]
    parents = [run.parent for run in runs if run and run.parent]
    records = [record for parent in parents if (record := _record(parent, "promotion.json"))]
    if found := on_same_rows(records, version.version, chosen):
        record, forward = found
        said = compared(record, one.target.unit, names if forward else names[::-1])
        st.markdown(f"**{literal(said)}**")
    same_rows = one.lineage and other.lineage and _test_rows(one.lineage) == _test_rows(other.lineage)
    caveat = (
        "Both were scored on the same test rows."
        if same_rows
        else "Each was scored on the test rows of its own training. Rows that came later may be harder, so only scores "
        "on the same rows say which version is better."
    )
    st.markdown(f":small[Below, the scores with their 95% intervals. {caveat}]")
    st.dataframe(
        scores(one, other, names),
        hide_index=True,
        alt="Scores of the two versions on their test rows.",
    )
    parts = slices(one, other, names)
    if not parts.empty:
        st.subheader("Parts of the test rows", anchor=False)
        st.dataframe(parts, hide_index=True, alt="Scores of the two versions on parts of their test rows.")
    st.subheader("What differs", anchor=False)
    different, same = differences(one, other, names, [run.params if run else {} for run in runs])
    st.dataframe(different, hide_index=True, alt="What the two versions were made of, where it differs.")
    if same:
        st.markdown(f":small[The same: {literal(', '.join(same))}.]")


def _run_of(version: ModelVersion) -> Run | None:
    try:
        return ui_runs.training(version.run_id)[0]
    except NotFoundError:
        return None


def _record(run_id: str, path: str) -> dict | None:
    try:
        return ui_runs.record(run_id, path)
    except NotFoundError:
        return None


def scores(one: Contract, other: Contract, names: tuple[str, str]) -> pd.DataFrame:
    """One row a metric, with each version's score on its own test rows and the 95 % interval of it.

    names: of the two versions, for the columns.
    """
    rows = []
    tasks = dict.fromkeys([*OF_TASK[one.task], *OF_TASK[other.task]])
    for metric in sorted(tasks, key=lambda found: (found.name != one.metric, found.title)):
        found = {
            name: _score(contract, metric.name) for name, contract in zip(names, (one, other), strict=True)
        }
        if any(text != SAME for text in found.values()):
            better = "higher" if metric.greater_is_better else "lower"
            rows.append({"Metric": metric.title, **found, "Better is": better})
    return pd.DataFrame(rows, columns=["Metric", *names, "Better is"])


def _score(contract: Contract, metric: str) -> str:
    value, unit = contract.metrics.get("test", {}).get(metric), contract.target.unit
    if value is None:
        return SAME
    limits = contract.evaluation.intervals.get(metric) if contract.evaluation else None
    said = score(metric, value, unit)
    return f"{said} ({score(metric, limits[0])} to {score(metric, limits[1])})" if limits else said


def slices(one: Contract, other: Contract, names: tuple[str, str]) -> pd.DataFrame:
    """One row for each part of the test rows that either version was measured on."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for name, contract in zip(names, (one, other), strict=True):
        titles = {feature.name: feature for feature in (*contract.features, contract.target)}
        for part in contract.evaluation.slices if contract.evaluation else ():
            predicted, column = part.by.startswith("predicted "), part.by.removeprefix("predicted ")
            if predicted and contract.task == "regression":
                # The bands of each version's predictions are its own.
                continue
            feature = titles.get(column)
            by = f"{'Predicted: ' if predicted else ''}{feature.title if feature else column}"
            value = feature.label(part.value) if isinstance(feature, Category) else part.value
            said = score(part.metric, part.score, contract.target.unit)
            title = METRICS[part.metric].title if part.metric in METRICS else part.metric
            rows.setdefault((by, value, title), {})[name] = f"{said} ({counted(part.rows, 'row')})"
    return pd.DataFrame(
        [
            {"By": by, "Value": value, "Metric": metric, **{name: found.get(name, SAME) for name in names}}
            for (by, value, metric), found in rows.items()
        ],
        columns=["By", "Value", "Metric", *names],
    )


def differences(
    one: Contract,
    other: Contract,
    names: tuple[str, str],
    parameters: Sequence[Mapping[str, str]],
) -> tuple[pd.DataFrame, list[str]]:
    """(one row for each thing that differs, in words what doesn't): data, training, contract, fields."""
    facts = [
        {**_facts(contract), **{f"Parameter {key}": value for key, value in sorted(chosen.items())}}
        for contract, chosen in zip((one, other), parameters, strict=True)
    ]
    keys = dict.fromkeys(key for found in facts for key in found)
    different = [key for key in keys if facts[0].get(key, SAME) != facts[1].get(key, SAME)]
    rows = [
        {"What": key, **{name: found.get(key, SAME) for name, found in zip(names, facts, strict=True)}}
        for key in different
    ]
    return pd.DataFrame(rows, columns=["What", *names]), _same([key for key in keys if key not in different])


def _same(keys: Sequence[str]) -> list[str]:
    """Libraries, parameters and fields are many, so these are counted."""
    many = Counter(key.split()[0] for key in keys if key.startswith(MANY))
    alone = [key[0].lower() + key[1:] for key in keys if not key.startswith(MANY)]
    return alone + [
        counted(count, name.lower(), "libraries" * (name == "Library")) for name, count in many.items()
    ]


def _test_rows(lineage: Lineage) -> tuple[Any, ...]:
    """What is equal of two trainings that scored on the same test rows."""
    return lineage.batches, lineage.history, lineage.rows.get("test")


def _facts(contract: Contract) -> dict[str, str]:
    found = dict[str, str]()
    if lineage := contract.lineage:
        found |= {
            "Candidate": lineage.candidate,
            "Batches": ", ".join(map(str, lineage.read_batches)),
            "Rows learnt from": f"{lineage.learnt_rows:,} ({' and '.join(lineage.learnt)})",
            "History": str(lineage.history),
            "Test rows": f"{lineage.rows.get('test', 0):,}",
            "Data digest": (lineage.digest or SAME)[:12],
            "Trained": f"{lineage.created_at:%Y-%m-%d %H:%M} UTC",
            "Commit": (lineage.commit or SAME)[:12],
            "Split": f"by {lineage.split_day}" if lineage.split_day else "by group",
        }
        found |= {f"Library {name}": version for name, version in sorted(lineage.libraries.items())}
    found |= {
        "Metric": METRICS[contract.metric].title if contract.metric in METRICS else contract.metric,
        "Threshold": SAME if contract.threshold is None else f"{contract.threshold:.3g}",
        "Interval": f"{contract.interval.level:.0%}" if contract.interval else SAME,
        "Target": _field(contract.target),
        "Classes": ", ".join(contract.classes) or SAME,
    }
    return found | {f"Field {feature.title}": _field(feature) for feature in contract.features}


def _field(feature: Feature) -> str:
    """What a caller may send."""
    kind = type(feature).__name__.lower()
    if isinstance(feature, Category):
        said = [
            f"{counted(len(feature.vocabulary), 'value')} with a code",
            "any other" * feature.allow_unknown,
        ]
    else:
        said = [feature.unit or "" if isinstance(feature, Number) else "", bounds(feature).rstrip(".")]
    required = "" if feature.required else "may be unknown"
    return ", ".join(part for part in (kind, *said, required) if part)


def on_same_rows(
    records: Iterable[Mapping[str, Any]], one: int, other: int
) -> tuple[Mapping[str, Any], bool] | None:
    """The record of a decision that compared the two versions, and whether the first was its challenger.

    records: those of both versions' trainings; an earlier release kept no champion in them.
    """
    for record in records:
        pair = (record.get("challenger"), record.get("champion"))
        if pair in ((one, other), (other, one)) and record.get("champion_score") is not None:
            return record, pair[0] == one
    return None


def compared(record: Mapping[str, Any], unit: str | None, names: Sequence[str]) -> str:
    """What a decision found on the same rows, as one sentence. names: of challenger and champion."""
    metric = str(record["metric"])
    title = METRICS[metric].title if metric in METRICS else metric
    new, old = (score(metric, record[f"{who}_score"], unit) for who in ("challenger", "champion"))
    gain, sure = record.get("gain"), record.get("sureness")
    found = f"On the same {record['holdout_rows']:,} test rows: {title} {new} ({names[0]}) against {old} ({names[1]})"
    if gain is not None:
        found += f", {number(abs(gain) * 100, 2)}% {'less' if gain >= 0 else 'more'} error"
    if sure is not None:
        found += f", better in {sure:.1%} of the resamples"
    return f"{found}."
