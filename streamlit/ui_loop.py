"""Charts, tables and sentences of the page Loop."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import altair as alt
import pandas as pd
import ui_charts

from mlops_lab.form import NEUTRAL, OUTCOME_COLOURS
from mlops_lab.formatting import literal
from mlops_lab.progress import BatchProgress, Challenge, Term

# Champions with a lane of their own.
LANES = 12
VERDICTS = {
    "surely better": OUTCOME_COLOURS["promoted"],
    "within the noise": OUTCOME_COLOURS["waiting"],
    "surely worse": OUTCOME_COLOURS["refused"],
    "no interval": NEUTRAL,
}


def how_to_start(use_case: str, airflow_url: str | None) -> str:
    """How a person makes the loop go on, as Markdown."""
    dag = f"`{use_case}_training`"
    linked = f"[{dag}]({airflow_url.rstrip('/')}/dags/{use_case}_training)" if airflow_url else dag
    return f"In Airflow, {linked} must not be paused; without Airflow, `lab run {use_case}` runs the loop."


def what_comes(use_case: str, batch: BatchProgress, airflow_url: str | None) -> str:
    """When the next batch comes, as far as this page knows: it can't ask Airflow."""
    if batch.state == "running":
        return "The next batch follows as soon as this one has ended with new rows."
    again = how_to_start(use_case, airflow_url)
    if batch.state == "held":
        return f"`lab accept {use_case} {literal(batch.number)}` lets the held batch go on. {again}"
    if batch.state in ("failed", "silent"):
        return f"The next run goes on with this batch. {again}"
    return (
        "The next batch is requested at once while batches bring new rows, and else by the schedule (every 15 minutes, "
        f"unless the use case says otherwise). Whether the loop is paused, this page can't ask. {again}"
    )


def time_line(terms: Sequence[Term], now: datetime) -> alt.Chart:
    """One lane a champion, from its promotion to the next one; the newest `LANES`."""
    shown = list(terms)[-LANES:]
    frame = pd.DataFrame(
        {
            "lane": [f"{place:03d}" for place in range(len(shown))],
            "name": [f"{term.version} {term.candidate}".strip() for term in shown],
            "since": [term.since.replace(tzinfo=None) for term in shown],
            "until": [(term.until or now).replace(tzinfo=None) for term in shown],
            "state": ["now" if term.until is None else "before" for term in shown],
        }
    )
    names = dict(zip(frame["lane"], frame["name"], strict=True))
    span = frame["until"].max() - frame["since"].min()
    clock = "%H:%M" if span > timedelta(minutes=10) else "%H:%M:%S"
    if span.days:
        clock = "%d %b" if span.days > 2 else "%d %b %H:%M"
    colours = alt.Scale(domain=["now", "before"], range=[OUTCOME_COLOURS["promoted"], NEUTRAL])
    return (
        alt.Chart(frame)
        # The line keeps a short time visible.
        .mark_bar(cornerRadius=3, height=16, strokeWidth=3)
        .encode(
            x=alt.X(
                "since:T",
                title="Time (UTC)",
                axis=ui_charts.axis(labelOverlap=True, tickCount=5, format=clock),
            ),
            x2="until:T",
            y=alt.Y(
                "lane:N",
                title="Version",
                sort=None,
                axis=alt.Axis(labelExpr=f"{names!r}[datum.value]", labelLimit=150),
            ),
            color=alt.Color("state:N", scale=colours, legend=None),
            stroke=alt.Stroke("state:N", scale=colours, legend=None),
            tooltip=[
                alt.Tooltip("name", title="Version"),
                alt.Tooltip("since:T", format="%Y-%m-%d %H:%M:%S", title="Since"),
                alt.Tooltip("until:T", format="%Y-%m-%d %H:%M:%S", title="Until"),
            ],
        )
        .properties(height=alt.Step(26))
    )


def intervals(compared: Sequence[Challenge]) -> alt.LayerChart | alt.FacetChart:
    """One column a challenge, the oldest first: the difference of the scores with its interval, and the line of equal.

    300 versions are about 75 challenges, which still have a column each.
    """
    frame = pd.DataFrame(
        {
            "version": str(one.version),
            "place": place,
            "better": one.better,
            "low": one.low,
            "high": one.high,
            "verdict": one.verdict or "no interval",
            "outcome": one.outcome,
            "words": one.words,
            "against": str(one.against or ""),
        }
        for place, one in enumerate(compared)
    )
    seen = [name for name in VERDICTS if name in set(frame["verdict"])]
    colour = alt.Color(
        "verdict:N",
        scale=alt.Scale(domain=seen, range=[VERDICTS[name] for name in seen]),
        legend=alt.Legend(title=None, orient="top", columns=2),
    )
    x = alt.X(
        "version:O",
        sort=alt.EncodingSortField("place"),
        title="Challenger (version)",
        axis=alt.Axis(labelAngle=0, labelOverlap=True),
    )
    y = {
        "title": f"Better by ({compared[-1].metric})",
        "axis": ui_charts.axis(tickCount=6, format=".2~g"),
        # A jump of the data gives differences a hundred times the usual ones, which must stay readable beside it.
        "scale": alt.Scale(type="symlog", constant=_smallest_width(compared)),
    }
    tips = [
        alt.Tooltip("version", title="Challenger"),
        alt.Tooltip("against", title="Champion"),
        alt.Tooltip("words", title="Result"),
        alt.Tooltip("outcome", title="Outcome"),
    ]
    base = alt.Chart(frame)
    zero = alt.Chart(pd.DataFrame({"zero": [0.0]})).mark_rule(strokeDash=[5, 4], color=NEUTRAL)
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3)
    points = base.mark_circle(size=60, opacity=1)
    return (
        zero.encode(y=alt.Y("zero:Q", **y))
        + bars.encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q", color=colour, tooltip=tips)
        + points.encode(x=x, y=alt.Y("better:Q", **y), color=colour, tooltip=tips)
    ).properties(height=300)


def _smallest_width(compared: Sequence[Challenge]) -> float:
    """The width of the smallest interval: around 0, up to this difference, the axis is about linear."""
    widths = [one.high - one.low for one in compared if one.low is not None and one.high is not None]
    return max(min(widths), 1e-9) if widths else 1.0


def table(found: Sequence[Challenge]) -> pd.DataFrame:
    """Each challenge, the newest first."""
    return pd.DataFrame(
        {
            "version": one.version,
            "against": "–" if one.against is None else str(one.against),
            "candidate": one.candidate,
            "outcome": one.outcome,
            "result": one.words if one.better is not None else "",
            "decided": one.at,
            "why": one.reason,
        }
        for one in reversed(found)
    )
