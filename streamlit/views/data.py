"""Data: the rows of each batch, its drift, its checks and quarantine, and the decision to train or to skip."""

import math
from collections.abc import Mapping

import altair as alt
import pandas as pd
import ui_charts
import ui_drift
import ui_frame
import ui_runs
from ui_settings import settings
from ui_tracking import NotFoundError, Run

import streamlit as st
from mlops_lab.errors import LabError
from mlops_lab.form import NEUTRAL, OUTCOME_COLOURS, in_words
from mlops_lab.formatting import counted, literal, number
from mlops_lab.model.tags import BatchTags

GOOD, BAD = OUTCOME_COLOURS["promoted"], OUTCOME_COLOURS["refused"]
# The parts of a batch's rows, from the bottom of a bar to its top.
PARTS = {"clean": GOOD, "duplicates": NEUTRAL, "dropped": "#d9a13a", "quarantined": BAD}
CHECK_MARKS = {"pass": "✓ pass", "warn": "▲ warn", "fail": "✗ fail"}
VIEWS = ["Drift", "Checks", "Quarantine"]


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
        titles = _titles(use_case)
        _totals(frame)
        _history(frame)
        ui_drift.history(runs, titles)
        _table(frame)
        _details(use_case, runs, titles)


def _titles(use_case: str) -> dict[str, str]:
    """The titles of the columns by the champion's contract; empty while there is none."""
    try:
        contract = ui_frame.contract(use_case, ui_frame.served(use_case).version or 0)
    except LabError:
        return {}
    return {feature.name: feature.title for feature in (*contract.features, contract.target)}


def _row(run: Run) -> dict:
    count, tags = run.metrics.get, BatchTags.from_mlflow(run.tags)
    return {
        "batch": run.batch,
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
    st.header("Rows by batch", anchor=False)
    rows = frame.melt(["batch", "landed"], list(PARTS), "part", "rows").dropna()
    rows["order"] = rows["part"].map({part: place for place, part in enumerate(PARTS)})
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            x=alt.X(
                "batch:N", sort=alt.EncodingSortField("landed"), title="Batch", axis=ui_charts.batch_axis()
            ),
            y=alt.Y("rows:Q", title="Rows", axis=ui_charts.axis(format=",.2~s", tickCount=5)),
            color=alt.Color(
                "part:N",
                scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())),
                legend=ui_charts.legend(),
            ),
            order="order:Q",
            tooltip=["batch", "part", alt.Tooltip("rows:Q", format=",")],
        )
    )
    newest = frame.iloc[0]
    st.altair_chart(
        chart,
        height=320,
        alt=f"Rows of {counted(len(frame), 'batch', 'batches')} by what became of them. The newest has "
        f"{number(newest['received'])} rows, {number(newest['clean'])} of them new and clean.",
    )


def _table(frame: pd.DataFrame) -> None:
    st.header("Batches", anchor=False)
    column, whole = st.column_config, "localized"
    st.dataframe(
        frame.drop(columns=["gap", "outcome reason"]),
        hide_index=True,
        alt="Batches, the newest first: numbers of rows, drift, decision and outcome.",
        column_config={
            "batch": column.TextColumn("Batch", width=55),
            "landed": column.DatetimeColumn("Landed", format="YYYY-MM-DD HH:mm", width=130),
            "received": column.NumberColumn("Received", format=whole, width=75),
            "clean": column.NumberColumn("Clean", format=whole, width=65),
            "duplicates": column.NumberColumn("Duplicates", format=whole, width=80),
            "dropped": column.NumberColumn("Dropped", format=whole, width=70),
            "quarantined": column.NumberColumn("Quarantined", format=whole, width=90),
            "psi_max": column.NumberColumn(
                "Drift", help="the largest stability index of any field", format="%.2f", width=55
            ),
            "decision": column.TextColumn("Decision", width=75),
            "outcome": column.TextColumn("Outcome", width=80),
            "reason": column.TextColumn("Why", width=500),
        },
        column_order=["batch", "landed", "received", *PARTS, "psi_max", "decision", "outcome", "reason"],
        placeholder="–",
    )


def _details(use_case: str, runs: list[Run], titles: Mapping[str, str]) -> None:
    st.header("One batch", anchor=False)
    names = {run.id: f"Batch {run.batch}, {run.started:%Y-%m-%d %H:%M} UTC" for run in runs}
    chosen = st.selectbox(
        "Batch",
        list(names),
        key=f"{use_case} batch",
        format_func=lambda run_id: names.get(run_id, run_id),
        label_visibility="collapsed",
    )
    run = next((run for run in runs if run.id == chosen), runs[0])
    row = _row(run)
    for name, text in {row["decision"]: row["reason"], row["outcome"]: row["outcome reason"]}.items():
        if name and not (name == "skipped" and text == row["reason"]):
            st.markdown(f"**{literal(name.capitalize())}:** {in_words(text) or _unsaid(name)}")
    tags = BatchTags.from_mlflow(run.tags)
    facts = [f"payload {literal(tags.payload)}"] if tags.payload else []
    if tags.ignored_columns:
        facts.append(f"columns that the use case doesn't declare: {literal(tags.ignored_columns)}")
    if (covered := run.metrics.get("interval_coverage")) is not None:
        level = run.metrics.get("interval_level", math.nan)
        facts.append(f"the champion's {level:.0%} intervals cover {covered:.0%} of its new rows")
    link = settings().run_page(run.experiment_id, run.id)
    facts.append(f"[run in MLflow]({link})")
    st.markdown(" · ".join(facts))
    drift, checks, quarantine = st.tabs(VIEWS, key=f"{use_case} data parts", on_change="rerun")
    # Only the open one is drawn, and asks for what it shows.
    if drift.open:
        with drift, ui_frame.friendly():
            ui_drift.of_batch(run, titles, f"{run.id} field")
    if checks.open:
        with checks, ui_frame.friendly():
            _checks(run)
    if quarantine.open:
        with quarantine, ui_frame.friendly():
            _quarantine(run, titles)


def _unsaid(decision: str) -> str:
    return "nothing is decided yet" if decision == "running" else "no reason is given"


def _checks(run: Run) -> None:
    if not BatchTags.from_mlflow(run.tags).checks:
        st.caption("The batch wasn't checked (yet).")
        return
    try:
        records = ui_runs.table(run.id, "checks.json")
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
        alt="Checks of the batch, those that fail or warn first.",
        column_config={
            "name": column.TextColumn("Check", width=90),
            "outcome": column.TextColumn("Outcome", width=70),
            "text": column.TextColumn("Figures", width=700),
        },
    )


def _quarantine(run: Run, titles: Mapping[str, str]) -> None:
    if (all_rows := run.metrics.get("quarantined")) is None:
        st.caption("Its rows are not counted (yet).")
        return
    if not all_rows:
        st.caption("No row of this batch was quarantined.")
        return
    try:
        records = ui_runs.table(run.id, "quarantine.json")
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
        frame["column"] = [ui_drift.title(str(name), titles) for name in frame["column"]]
        counts = frame[["column", "rule"]].value_counts().head(5).reset_index()
        st.caption(
            literal(", ".join(f"{row.column} ({row.rule}): {row.count:,}" for row in counts.itertuples()))
        )
    shown = frame.astype(str).rename(columns=lambda name: str(name).capitalize())
    st.dataframe(shown, hide_index=True, height=320, alt="Rows in quarantine, with the rule that each broke.")
    if all_rows > len(frame):
        st.caption(f"The first {len(frame):,} of {all_rows:,.0f}.")


page()
