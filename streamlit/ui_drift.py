"""The drift of batches, for the Data page: how it went on, which features moved, and the distributions behind it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import ui_charts
import ui_runs
from ui_tracking import NotFoundError, Run

import streamlit as st
from mlops_lab.errors import LabError
from mlops_lab.form import NEUTRAL, OUTCOME_COLOURS, UP
from mlops_lab.formatting import counted, literal
from mlops_lab.model.tags import DRIFT_FILE, BatchTags

# Features of the chart of one batch, and of the chart over all batches.
TOP, LINES = 15, 5
PSI = "Population stability index"
# How the drift of a feature stands to the bound.
STATES = {"within the bound": UP, "over the bound": OUTCOME_COLOURS["refused"], "bound unknown": NEUTRAL}
TRAINING, NEW = "training rows", "new rows"


def indices(run: Run) -> dict[str, float]:
    """The stability index of each feature, by name; empty where none was computed."""
    return {key.removeprefix("psi."): value for key, value in run.metrics.items() if key.startswith("psi.")}


def title(name: str, titles: Mapping[str, str]) -> str:
    """A column's title by the champion's contract, else its name."""
    return titles.get(name, name)


def over_batches(runs: Sequence[Run], titles: Mapping[str, str]) -> pd.DataFrame:
    """One row for each batch and each of the features that drifted most in any batch.

    runs: of batches, newest first. index: the stability index; order: of the batches, from 0.
    """
    known = [(run, found) for run in reversed(runs) if (found := indices(run))]
    most: dict[str, float] = {}
    for _, found in known:
        for name, value in found.items():
            most[name] = max(most.get(name, 0.0), value)
    shown = sorted(most, key=lambda name: -most[name])[:LINES]
    rows = [
        {"batch": run.batch, "order": order, "feature": title(name, titles), "index": found[name]}
        for order, (run, found) in enumerate(known)
        for name in shown
        if name in found
    ]
    return pd.DataFrame(rows, columns=["batch", "order", "feature", "index"])


def history(runs: Sequence[Run], titles: Mapping[str, str]) -> None:
    """The indices over the batches; nothing before there are two."""
    frame = over_batches(runs, titles)
    if frame["batch"].nunique() < 2:
        return
    st.header("Drift over the batches", anchor=False)
    bound = next((b for run in runs if (b := run.metrics.get("psi_bound")) is not None), math.nan)
    order = frame.drop_duplicates("order").sort_values("order")["batch"].tolist()
    names = list(frame["feature"].unique())
    lines = (
        alt.Chart(frame)
        .mark_line(point=True)
        .encode(
            x=alt.X("batch:O", sort=order, title="Batch", axis=ui_charts.batch_axis()),
            y=alt.Y("index:Q", title=PSI, axis=ui_charts.axis(tickCount=5)),
            color=alt.Color("feature:N", sort=names, legend=ui_charts.legend(3)),
            tooltip=[
                alt.Tooltip("feature:N", title="Field"),
                alt.Tooltip("batch:O", title="Batch"),
                alt.Tooltip("index:Q", title="Index", format=".3f"),
            ],
        )
    )
    worst = frame.loc[frame["index"].idxmax()]
    st.altair_chart(
        lines + _bound(bound, "y"),
        height=320,
        alt=f"Drift of {', '.join(names)} over {counted(len(order), 'batch', 'batches')}; the greatest index is "
        f"{worst['index']:.2f}, {worst['feature']} in batch {worst['batch']}.",
    )
    st.markdown(
        ":small[How far the rows that are new to the champion were from its training rows: the fields that ever moved "
        "most. The dashed line is the bound for a new training. A new champion starts again near 0.]"
    )


def of_batch(run: Run, titles: Mapping[str, str], key: str) -> None:
    """What moved in one batch, and how."""
    found = indices(run)
    if not found:
        if not BatchTags.from_mlflow(run.tags).decision:
            st.caption("Not computed: nothing has been decided on this batch (yet).")
            return
        st.caption(
            "Not computed: there was no champion to compare with, or there were too few new rows for a stable index. "
            "The check “drift” compares all rows of the batch."
        )
        return
    bound = run.metrics.get("psi_bound", math.nan)
    ranked = sorted(found, key=lambda name: -found[name])
    moved = [name for name in ranked if found[name] > bound]
    worst = literal(f"{title(ranked[0], titles)}, {found[ranked[0]]:.2f}")
    if math.isnan(bound):
        st.markdown(f"The greatest of {counted(len(found), 'index', 'indices')}: {worst}.")
    elif not moved:
        st.markdown(
            f"**Nothing drifted.** The greatest of {counted(len(found), 'index', 'indices')} is {worst}; from "
            f"{bound:g} on a training follows."
        )
    if moved or math.isnan(bound):
        _bars(found, ranked[:TOP], bound, titles)
    change = run.metrics.get("target_std_change")
    said = [f"The {TOP} largest of {len(found)} fields."] if moved and len(found) > TOP else []
    if math.isnan(bound):
        said.append("The bound for a new training is unknown.")
    elif moved:
        said.append(f"The dashed line is the bound for a new training, {bound:g}.")
    if change is not None:
        said.append(f"The target's standard deviation moved by {change:+.0%}.")
    if said:
        st.markdown(f":small[{' '.join(said)}]")
    _behind(run, ranked, found, titles, key)


def _bars(found: Mapping[str, float], names: Sequence[str], bound: float, titles: Mapping[str, str]) -> None:
    states = ["bound unknown"] if math.isnan(bound) else ["within the bound", "over the bound"]
    frame = pd.DataFrame(
        [(title(name, titles), found[name], _state(found[name], bound)) for name in names],
        columns=["field", "psi", "state"],
    )
    bars = (
        alt.Chart(frame)
        .mark_bar(height=14)
        .encode(
            # Of an unknown second value `max` takes the first.
            x=alt.X(
                "psi:Q",
                title=PSI,
                axis=ui_charts.axis(tickCount=5),
                scale=alt.Scale(domainMax=max(frame["psi"].max(), bound * 1.2)),
            ),
            y=alt.Y("field:N", sort=None, title=None, axis=ui_charts.axis(labelLimit=170)),
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=states, range=[STATES[state] for state in states]),
                legend=ui_charts.legend(),
            ),
            tooltip=[
                alt.Tooltip("field:N", title="Field"),
                alt.Tooltip("psi:Q", title="Index", format=".3f"),
            ],
        )
    )
    said = ", ".join(f"{row.field} {row.psi:.2f}" for row in frame.head(5).itertuples())
    st.altair_chart(
        bars + _bound(bound, "x"),
        height=150 + 24 * len(frame),
        alt=f"Drift by field, the greatest first: {said}.",
    )


def _behind(
    run: Run, ranked: Sequence[str], found: Mapping[str, float], titles: Mapping[str, str], key: str
) -> None:
    """The distribution of one field on both sides, and the values that the champion has no code for."""
    try:
        kept = ui_runs.record(run.id, DRIFT_FILE)
    except NotFoundError:
        st.caption("The distributions behind it aren't stored: the batch is of an earlier release.")
        return
    try:
        version, rows, features = kept["version"], kept["rows"], kept["features"]
        new_values = kept.get("new_values", {})
        names = [name for name in ranked if name in features] or list(features)
        st.subheader("How a field is distributed", anchor=False)
        chosen = st.selectbox(
            "Field",
            names,
            key=key,
            format_func=lambda name: f"{title(name, titles)} · {found.get(name, math.nan):.2f}",
            label_visibility="collapsed",
        )
        _distribution(title(chosen, titles), features[chosen], version, rows)
        _new_values(new_values, titles)
    except (KeyError, TypeError, ValueError) as error:
        raise LabError(f"{DRIFT_FILE} of run {run.id} can't be read") from error


def _distribution(name: str, feature: Mapping[str, Sequence[Any]], version: int, rows: int) -> None:
    bins = list(feature["bins"])
    frame = pd.DataFrame(
        [
            {"bin": label, "rows": side, "share": share, "order": place}
            for side, shares in ((TRAINING, feature["training"]), (NEW, feature["new"]))
            for place, (label, share) in enumerate(zip(bins, shares, strict=True))
        ]
    )
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="Share of the rows", axis=ui_charts.axis(format=".0%", tickCount=5)),
            y=alt.Y("bin:N", sort=bins, title=None, axis=ui_charts.axis(labelLimit=190)),
            yOffset=alt.YOffset("rows:N", sort=[TRAINING, NEW]),
            color=alt.Color(
                "rows:N",
                sort=[TRAINING, NEW],
                scale=alt.Scale(domain=[TRAINING, NEW], range=[NEUTRAL, UP]),
                legend=ui_charts.legend(),
            ),
            tooltip=[
                alt.Tooltip("bin:N", title=name),
                alt.Tooltip("rows:N", title="Rows"),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
    )
    most = max(range(len(bins)), key=lambda place: abs(feature["new"][place] - feature["training"][place]))
    st.altair_chart(
        chart,
        height=140 + 28 * len(bins),
        alt=f"{name}: shares of {counted(len(bins), 'bin')} in the training rows and in the new rows. The greatest "
        f"change: {bins[most]}, from {feature['training'][most]:.1%} to {feature['new'][most]:.1%}.",
    )
    st.markdown(
        f":small[{rows:,} rows that are new to version {version}, against those that it learnt from. The bins of a "
        "number have about equal shares of the training rows.]"
    )


def _new_values(new: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> None:
    rows = [
        {"Field": title(name, titles), "Value": value, "Share of the new rows": f"{share:.1%}"}
        for name, values in new.items()
        for value, share in values.items()
    ]
    if not rows:
        return
    st.subheader("New values of categories", anchor=False)
    st.markdown(":small[The champion has no code for them, so it takes them all for one rare value.]")
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, alt="Values of categories that the champion has no code for."
    )


def _bound(bound: float, channel: str) -> alt.Chart:
    frame = pd.DataFrame({"bound": [bound]}).dropna()
    rule = alt.Chart(frame).mark_rule(strokeDash=[5, 4], color=NEUTRAL, strokeWidth=2)
    return rule.encode(**{channel: "bound:Q"})


def _state(index: float, bound: float) -> str:
    """A key of `STATES`."""
    if math.isnan(bound):
        return "bound unknown"
    return "over the bound" if index > bound else "within the bound"
