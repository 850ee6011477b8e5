"""Data: the rows of each batch, its quarantine, its drift, and the decision to train or to skip."""

import json
import math

import altair as alt
import pandas as pd
import ui_frame
from ui_settings import settings
from ui_tracking import NotFoundError, Run

import streamlit as st
from mlops_lab.form import NEUTRAL, OUTCOME_COLOURS, UP, in_words
from mlops_lab.formatting import counted, literal, number
from mlops_lab.model.tags import BatchTags

GOOD, BAD = OUTCOME_COLOURS["promoted"], OUTCOME_COLOURS["refused"]
# The parts of a batch's rows, from the bottom of a bar to its top.
PARTS = {"clean": GOOD, "duplicates": NEUTRAL, "dropped": "#d9a13a", "quarantined": BAD}
# How the drift of a feature stands to the bound.
STATES = {"within": UP, "over the bound": BAD, "bound unknown": NEUTRAL}
CHECK_MARKS = {"pass": "✓ pass", "warn": "▲ warn", "fail": "✗ fail"}
# Features in the drift chart.
TOP = 15


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        runs = ui_frame.tracking().runs(use_case, BatchTags)
        if not runs:
            ui_frame.say_empty(
                "**No batch has landed yet.** Each run of the training DAG requests one from the Data API. "
                "This page shows it without a reload."
            )
            return
        frame = pd.DataFrame([_row(run) for run in runs])
        _totals(frame)
        _history(frame)
        _table(frame)
        _details(use_case, runs)


def _row(run: Run) -> dict:
    count, tags = run.metrics.get, BatchTags.from_mlflow(run.tags)
    return {
        "batch": run.name.removeprefix("batch-") if tags.batch_number is None else str(tags.batch_number),
        "landed": run.started,
        **{name: count(name, math.nan) for name in ("received", *PARTS, "gap", "psi_max")},
        "decision": tags.decision or ("running" if run.status == "RUNNING" else ""),
        "outcome": tags.outcome,
        "reason": tags.reason,
        "outcome reason": tags.outcome_reason,
    }


def _totals(frame: pd.DataFrame) -> None:
    cells = st.columns(4)
    # A sum of unknown counts is unknown, and not 0.
    known = frame[["received", "clean", "quarantined"]]
    both = known[["received", "quarantined"]].dropna().sum()
    cells[0].metric("Batches", len(frame), border=True)
    cells[1].metric("Rows received", number(known["received"].sum(min_count=1)), border=True)
    cells[2].metric("New clean rows", number(known["clean"].sum(min_count=1)), border=True)
    fraction = f"{both['quarantined'] / both['received']:.2%}" if both["received"] else "–"
    cells[3].metric("Quarantined", fraction, border=True)
    if unknown := int(known.isna().any(axis=1).sum()):
        st.caption(
            f"Counts of {counted(unknown, 'batch', 'batches')} are unknown (yet) and not in these figures."
        )
    if gap := int(frame["gap"].fillna(0).sum()):
        st.warning(
            f"{counted(gap, 'batch', 'batches')} between the landed ones never arrived.",
            icon=":material/warning:",
        )


def _history(frame: pd.DataFrame) -> None:
    st.subheader("Rows by batch")
    rows = frame.melt(["batch", "landed"], list(PARTS), "part", "rows").dropna()
    rows["order"] = rows["part"].map({part: place for place, part in enumerate(PARTS)})
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X(
                "batch:N", sort=alt.EncodingSortField("landed"), title="Batch", axis=alt.Axis(labelAngle=0)
            ),
            y=alt.Y("rows:Q", title="Rows", axis=alt.Axis(format="~s", tickCount=5)),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
                legend=alt.Legend(title=None, orient="top"),
            ),
            order="order:Q",
            tooltip=["batch", "part", alt.Tooltip("rows:Q", format=",")],
        )
    )
    st.altair_chart(chart, height=260)


def _table(frame: pd.DataFrame) -> None:
    st.subheader("Batches")
    column, whole = st.column_config, "%d"
    st.dataframe(
        frame.drop(columns=["gap", "outcome reason"]),
        hide_index=True,
        column_config={
            "batch": column.TextColumn("Batch", width=55),
            "landed": column.DatetimeColumn("Landed", format="YYYY-MM-DD HH:mm", width=125),
            "received": column.NumberColumn("Received", format=whole, width=75),
            "clean": column.NumberColumn("Clean", format=whole, width=65),
            "duplicates": column.NumberColumn("Duplicates", format=whole, width=80),
            "dropped": column.NumberColumn("Dropped", format=whole, width=70),
            "quarantined": column.NumberColumn("Quarantined", format=whole, width=90),
            "psi_max": column.NumberColumn(
                "Drift", help="the largest stability index of any feature", format="%.2f", width=55
            ),
            "decision": column.TextColumn("Decision", width=75),
            "outcome": column.TextColumn("Outcome", width=80),
            "reason": column.TextColumn("Why", width=500),
        },
        column_order=["batch", "landed", "received", *PARTS, "psi_max", "decision", "outcome", "reason"],
    )


def _details(use_case: str, runs: list[Run]) -> None:
    st.subheader("One batch")
    chosen = st.selectbox(
        "Batch",
        [run.id for run in runs],
        key=f"{use_case} batch",
        format_func=lambda run_id: next(
            f"Batch {_row(r)['batch']}, {r.started:%Y-%m-%d %H:%M} UTC" for r in runs if r.id == run_id
        ),
        label_visibility="collapsed",
    )
    run = next((run for run in runs if run.id == chosen), runs[0])
    row = _row(run)
    for name, text in {row["decision"]: row["reason"], row["outcome"]: row["outcome reason"]}.items():
        if name and not (name == "skipped" and text == row["reason"]):
            st.markdown(f"**{literal(name.capitalize())}:** {in_words(text) or 'no reason is given'}")
    tags = BatchTags.from_mlflow(run.tags)
    facts = [f"payload {literal(tags.payload)}"] if tags.payload else []
    if tags.ignored_columns:
        facts.append(f"columns that the use case doesn't declare: {literal(tags.ignored_columns)}")
    if (covered := run.metrics.get("interval_coverage")) is not None:
        level = run.metrics.get("interval_level", math.nan)
        facts.append(f"the champion's {level:.0%} intervals cover {covered:.0%} of its new rows")
    link = settings().mlflow_page(f"experiments/{run.experiment_id}/runs/{run.id}")
    facts.append(f"[run in MLflow]({link})")
    st.markdown(" · ".join(facts))
    _checks(run)
    left, right = st.columns(2, gap="large")
    with left:
        _drift(run)
    with right:
        _quarantine(run)


def _checks(run: Run) -> None:
    st.markdown("**Checks**")
    if not BatchTags.from_mlflow(run.tags).checks:
        st.caption("The batch wasn't checked (yet).")
        return
    try:
        records = _table_of(run.id, "checks.json")
    except (NotFoundError, ValueError):
        st.caption("The table of checks in MLflow can't be read.")
        return
    frame = pd.DataFrame(records, columns=["name", "outcome", "text"])
    frame["order"] = frame["outcome"].map({"fail": 0, "warn": 1}).fillna(2)
    frame["outcome"] = frame["outcome"].map(CHECK_MARKS).fillna(frame["outcome"])
    column = st.column_config
    st.dataframe(
        frame.sort_values("order", kind="stable").drop(columns="order"),
        hide_index=True,
        column_config={
            "name": column.TextColumn("Check", width=90),
            "outcome": column.TextColumn("Outcome", width=70),
            "text": column.TextColumn("Figures", width=700),
        },
    )


def _drift(run: Run) -> None:
    st.markdown("**Drift against the champion's training rows**")
    indices = {
        key.removeprefix("psi."): value for key, value in run.metrics.items() if key.startswith("psi.")
    }
    if not indices:
        if not BatchTags.from_mlflow(run.tags).decision:
            st.caption("Not computed: nothing has been decided on this batch (yet).")
            return
        st.caption(
            "Not computed: there was no champion to compare with, or the batch has too few rows for a stable index."
        )
        return
    bound = run.metrics.get("psi_bound", math.nan)
    states = ["bound unknown"] if math.isnan(bound) else ["within", "over the bound"]
    frame = pd.DataFrame(sorted(indices.items(), key=lambda pair: -pair[1])[:TOP], columns=["feature", "psi"])
    frame["state"] = [_state(value, bound) for value in frame["psi"]]
    bars = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X(
                "psi:Q",
                title="Population stability index",
                # Of an unknown second value `max` takes the first.
                scale=alt.Scale(domainMax=max(frame["psi"].max(), bound * 1.2)),
            ),
            y=alt.Y("feature:N", sort=None, title=None, axis=alt.Axis(labelLimit=170)),
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=states, range=[STATES[state] for state in states]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=["feature", alt.Tooltip("psi:Q", format=".3f")],
        )
    )
    rule = (
        alt.Chart(pd.DataFrame({"bound": [bound]}).dropna())
        .mark_rule(strokeDash=[5, 4], color=NEUTRAL)
        .encode(x="bound:Q")
    )
    st.altair_chart((bars + rule).properties(height=alt.Step(22)))
    more = f"The {TOP} largest of {len(indices)} features. " if len(indices) > TOP else ""
    change = run.metrics.get("target_std_change")
    moved = "" if change is None else f" The target's standard deviation moved by {change:+.0%}."
    line = (
        "The bound for a new training is unknown."
        if math.isnan(bound)
        else f"The dashed line is the bound for a new training, {bound:g}."
    )
    st.caption(f"{more}{line}{moved}")


def _state(index: float, bound: float) -> str:
    """A key of `STATES`."""
    if math.isnan(bound):
        return "bound unknown"
    return "over the bound" if index > bound else "within"


def _quarantine(run: Run) -> None:
    st.markdown("**Quarantine**")
    if (all_rows := run.metrics.get("quarantined")) is None:
        st.caption("Its rows are not counted (yet).")
        return
    if not all_rows:
        st.caption("No row of this batch was quarantined.")
        return
    try:
        records = _table_of(run.id, "quarantine.json")
    except NotFoundError:
        st.caption("This run has no quarantine table (yet).")
        return
    except ValueError:
        st.caption("The quarantine table in MLflow can't be read.")
        return
    frame = pd.DataFrame(records)
    if frame.empty:
        st.caption("The quarantine table is empty.")
        return
    if {"column", "rule"} <= set(frame):
        counts = frame[["column", "rule"]].value_counts().head(5).reset_index()
        st.caption(
            literal(", ".join(f"{row.column} ({row.rule}): {row.count}" for row in counts.itertuples()))
        )
    st.dataframe(frame.astype(str), hide_index=True, height=320)
    if all_rows > len(frame):
        st.caption(f"The first {len(frame):,} of {all_rows:,.0f}.")


@st.cache_data(max_entries=32, show_spinner=False)
def _table_of(run_id: str, path: str) -> list[dict]:
    """A table among the run's artifacts: a list of records, or MLflow's form with columns and rows."""
    table = json.loads(ui_frame.tracking().artifact(run_id, path))
    if isinstance(table, dict):
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    if not isinstance(table, list):
        raise ValueError("neither records nor columns")
    return table


page()
