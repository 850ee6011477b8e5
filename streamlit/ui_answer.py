"""The charts of one answer: its probabilities, its explanation as a waterfall, and the curve of one field."""

from typing import Any

import altair as alt
import pandas as pd
import ui_charts

import streamlit as st
from mlops_lab.client import ExplainReply
from mlops_lab.contract import Contract
from mlops_lab.features import Boolean, Category, Date, Feature, Integer
from mlops_lab.form import (
    DOWN,
    NEUTRAL,
    UP,
    change,
    change_of,
    contributions,
    explained,
    from_to,
    label,
    rounded,
)
from mlops_lab.formatting import literal, show

# Classes with a bar of their own.
CLASSES = 10
AXIS: dict[str, Any] = ui_charts.AXIS | {"labelOverlap": True}


def probability(share: float, threshold: float | None) -> None:
    """The probability of yes as a bar, with a mark at the threshold."""
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1], **AXIS)
    bar = alt.Chart(pd.DataFrame({"share": [share]})).mark_bar(color=UP, size=18)
    layers = [bar.encode(x=alt.X("share:Q", scale=scale, axis=axis, title=None))]
    alternative = f"Bar: probability of yes {share:.1%}"
    if threshold is not None:
        mark = alt.Chart(pd.DataFrame({"at": [threshold], "said": [f"yes from {threshold:.1%} on"]}))
        layers.append(mark.mark_tick(color=_ink(), thickness=2, size=34).encode(x=alt.X("at:Q")))
        side: dict[str, Any] = {"align": "left", "dx": 5} if threshold < 0.6 else {"align": "right", "dx": -5}
        words = mark.mark_text(color=_ink(), fontSize=12, dy=-24, **side)
        layers.append(words.encode(x=alt.X("at:Q"), text=alt.Text("said:N")))
        alternative += f", with a mark at {threshold:.1%}, from which on the answer is yes"
    st.altair_chart(alt.layer(*layers).properties(height=96), alt=f"{alternative}.")


def classes(contract: Contract, shares: dict[str, float]) -> None:
    """Bars of the probabilities of the most probable classes."""
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])[:CLASSES]
    frame = pd.DataFrame(
        {
            "class": [show(contract.target, name) for name, _ in ranked],
            "share": [share for _, share in ranked],
            "said": [f"{share:.1%}" for _, share in ranked],
        }
    )
    x = alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, 1.15]))
    y = alt.Y("class:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, labelOverlap=False))
    base = alt.Chart(frame).encode(
        x=x, y=y, tooltip=[alt.Tooltip("class:N"), alt.Tooltip("said:N", title="probability")]
    )
    numbers = base.mark_text(align="left", dx=5, color=_ink(), fontSize=12).encode(text=alt.Text("said:N"))
    said = ", ".join(f"{row['class']} {row['said']}" for _, row in frame.iterrows())
    chart = alt.layer(base.mark_bar(color=UP), numbers).properties(height=22 * len(frame))
    st.altair_chart(chart, height="content", alt=f"Bars of the probabilities: {said}.")


def waterfall(contract: Contract, row: dict, explanation: ExplainReply) -> None:
    """From the average of typical rows to this prediction, one bar for each field, the strongest on top."""
    bars = contributions(contract, row, explanation)
    # Percentage points for probabilities.
    unit = 1 if contract.task == "regression" else 100
    ends = pd.Series([bar.value * unit for bar in reversed(bars)]).cumsum()[::-1].tolist()
    frame = pd.DataFrame(
        {
            "place": range(len(bars)),
            "field": [bar.label for bar in bars],
            "from": [end - bar.value * unit for end, bar in zip(ends, bars, strict=True)],
            "to": ends,
            "said": [change(contract, explanation, bar.value) for bar in bars],
            "way": ["up" if bar.value >= 0 else "down" for bar in bars],
        }
    )
    frame["right"] = frame[["from", "to"]].max(axis=1)
    low, high = min(0, frame["from"].min(), frame["to"].min()), max(0, frame["right"].max())
    room = (high - low) or 1
    # The numbers stand at the right of the bars.
    scale = alt.Scale(domain=[low - room * 0.03, high + room * 0.25], nice=False, zero=False)
    axis = alt.Axis(format=".3~s" if unit == 1 else "~f", tickCount=4, grid=False, **AXIS)
    x = alt.X("from:Q", title=None, scale=scale, axis=axis)
    tooltip = [alt.Tooltip("field:N", title="Field"), alt.Tooltip("said:N", title="Moved by")]
    base = alt.Chart(frame).encode(y=alt.Y("place:O", axis=None), tooltip=tooltip)
    colour = alt.Color("way:N", scale=alt.Scale(domain=["up", "down"], range=[UP, DOWN]), legend=None)
    drawn = base.mark_bar(size=11, yOffset=8).encode(x=x, x2=alt.X2("to:Q"), color=colour)
    numbers = base.mark_text(align="left", dx=5, dy=8, color=_ink(), fontSize=12).encode(
        x=alt.X("right:Q"), text=alt.Text("said:N")
    )
    # A field's name has the whole width, above of its bar.
    names = base.mark_text(align="left", dy=-6, limit=330, color=_ink(), fontSize=12).encode(
        x=alt.XValue(0), text=alt.Text("field:N")
    )
    average = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=NEUTRAL, strokeDash=[4, 3])
    chart = alt.layer(average.encode(x=alt.X("at:Q")), drawn, numbers, names).properties(
        height=36 * len(bars)
    )
    title, ends_said = change_of(contract, explanation), from_to(contract, explanation)
    st.caption(literal(f"{title}, {ends_said}"))
    said = "; ".join(f"{bar.label} {change(contract, explanation, bar.value)}" for bar in bars)
    st.altair_chart(chart, height="content", alt=f"Waterfall: {title}, {ends_said}: {said}.")


def curve(contract: Contract, feature: Feature, explanation: ExplainReply) -> None:
    """The prediction for other values of one field: a line, for a category bars. A mark shows the row's own value."""
    found = explanation.curve
    if found is None:
        return
    shares = contract.task != "regression"
    frame = pd.DataFrame(
        {
            "value": found.values,
            "named": [show(feature, value) for value in found.values],
            "y": found.predictions,
            "said": [
                f"{y:.1%}" if shares else rounded(contract, y, explanation.interval)
                for y in found.predictions
            ],
            "own": [index == found.current for index in range(len(found.values))],
        }
    )
    title = explained(contract, explanation)
    tooltip = [alt.Tooltip("named:N", title=feature.title), alt.Tooltip("said:N", title=title)]
    format_ = "%" if shares else ".3~s"
    low, high = frame["y"].min(), frame["y"].max()
    alternative = f"{title} from {_said(frame, low)} to {_said(frame, high)} by {label(feature)}"
    if found.current is not None:
        y_said, named = frame["said"][found.current], frame["named"][found.current]
        alternative += f"; {y_said} at this row's {named}"
    st.caption(literal(f"{title} by {label(feature)}; the mark is this row"))
    if isinstance(feature, Category | Boolean):
        x = alt.X("y:Q", title=None, axis=alt.Axis(format=format_, tickCount=4, **AXIS))
        y = alt.Y("named:N", sort=None, title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False))
        colour = alt.condition("datum.own", alt.value(DOWN), alt.value(UP))
        bars = alt.Chart(frame.sort_values("y", ascending=False)).mark_bar()
        chart = bars.encode(x=x, y=y, color=colour, tooltip=tooltip).properties(height=22 * len(frame))
        st.altair_chart(chart, height="content", alt=f"Bars: {alternative}.")
        return
    kind = "T" if isinstance(feature, Date) else "Q"
    numbers: dict[str, Any] = (
        {} if kind == "T" else {"format": "d" if isinstance(feature, Integer) else ".3~s"}
    )
    x = alt.X(
        f"value:{kind}",
        title=label(feature),
        scale=alt.Scale(zero=False, nice=False, padding=8),
        axis=alt.Axis(tickCount=5, **numbers, **AXIS),
    )
    y = alt.Y(
        "y:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format=format_, tickCount=5, **AXIS)
    )
    base = alt.Chart(frame).encode(x=x, y=y, tooltip=tooltip)
    here = alt.Chart(frame[frame["own"]])
    rule = here.mark_rule(color=NEUTRAL, strokeDash=[4, 3]).encode(x=x)
    own = here.mark_circle(color=DOWN, size=110, opacity=1).encode(x=x, y=y, tooltip=tooltip)
    layers = [
        base.mark_line(color=UP, point={"size": 14, "color": UP}),
        rule,
        own,
    ]
    st.altair_chart(alt.layer(*layers).properties(height=220), alt=f"Line: {alternative}.")


def _said(frame: pd.DataFrame, y: float) -> str:
    return frame.loc[frame["y"] == y, "said"].iloc[0]


def _ink() -> str:
    """The colour of text; Streamlit's theme leaves that of text marks as it is."""
    return "#fafafa" if st.context.theme.type == "dark" else "#31333f"
