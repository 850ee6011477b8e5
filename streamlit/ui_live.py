"""Charts and tables of live traffic, for the Live page: requests, latency, scores beside the test interval, drift."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import altair as alt
import pandas as pd
import ui_charts
from ui_traffic import lasting

from mlops_lab.contract import Contract
from mlops_lab.form import NEUTRAL, OUTCOME_COLOURS, UP, label, metric_title
from mlops_lab.formatting import score, show
from mlops_lab.live_client import LiveCheck, LiveScore, LoggedPrediction
from mlops_lab.traffic import Scrape, reasons, traffic

BAD = OUTCOME_COLOURS["refused"]
# The kinds of requests, in the users' words.
ROUTES = {
    "predict": "Predictions",
    "infer": "Predictions (V2 protocol)",
    "invocations": "Predictions (MLflow's form)",
    "explain": "Explanations",
    "feedback": "Ground truth",
}
# Features in the drift chart.
TOP = 12


def over_time(scrapes: Sequence[Scrape], use_case: str) -> pd.DataFrame:
    """Between each two scrapes: `at` (UTC), `requests` a minute, `p95` in milliseconds (NaN without requests)."""
    rows = []
    for before, after in pairwise(scrapes):
        found = traffic(after, before, use_case=use_case)
        p95 = float("nan") if found.p95 is None else 1000 * found.p95
        rows.append({"at": datetime.fromtimestamp(after.at, UTC), "requests": found.per_minute, "p95": p95})
    return pd.DataFrame(rows, columns=["at", "requests", "p95"])


def line(frame: pd.DataFrame, column: str, title: str) -> alt.Chart:
    """One column of `over_time` as an area."""
    return (
        alt.Chart(frame.dropna(subset=[column]), title=alt.Title(title, anchor="start", fontSize=13))
        .mark_area(line={"color": UP}, color=UP, opacity=0.25, interpolate="step-before")
        .encode(
            x=alt.X("at:T", title=None, axis=ui_charts.axis(format="%H:%M:%S", tickCount=4)),
            y=alt.Y(f"{column}:Q", title=None, axis=ui_charts.axis(tickCount=3, format=",.3~g")),
            tooltip=[
                alt.Tooltip("at:T", title="Time", format="%H:%M:%S"),
                alt.Tooltip(f"{column}:Q", title=title, format=",.3~f"),
            ],
        )
    )


def routes(newest: Scrape, before: Scrape | None, use_case: str) -> list[dict[str, Any]]:
    """One row for each kind of request and version that had any, the newest version first."""
    name = "inference_requests_total"
    counted = [labels for labels, _ in newest.of(name, use_case=use_case)]
    series = {(labels["kind"], labels["version"]) for labels in counted if labels["kind"] in ROUTES}
    rows = []
    order = list(ROUTES)
    for kind, version in sorted(series, key=lambda pair: (_order(pair[1]), order.index(pair[0]))):
        found = traffic(newest, before, [kind], use_case, version)
        if found.requests:
            rows.append(
                {
                    "Requests for": ROUTES[kind],
                    "Version": version or "–",
                    "Number": int(found.requests),
                    "Failed": int(found.failed),
                    "Half within": lasting(found.p50),
                    "95% within": lasting(found.p95),
                    "99% within": lasting(found.p99),
                }
            )
    return rows


def failures(newest: Scrape, before: Scrape | None, use_case: str) -> list[dict[str, Any]]:
    """One row for each kind of error."""
    return [
        {"Reason": kind.replace("_", " ").capitalize(), "Requests": int(count)}
        for kind, count in reasons(newest, before, use_case).items()
    ]


def score_rows(
    check: LiveCheck | None, live: Sequence[LiveScore], contract: Contract
) -> list[dict[str, Any]]:
    """What is known of the served version's metric: on test rows, estimated, measured; and of every other arm.

    Each row has what, score, low, high (None where it has no interval) and a text.
    """
    metric, unit = contract.metric, contract.target.unit
    rows = []

    def add(what: str, value: float | None, low: float | None = None, high: float | None = None) -> None:
        if value is not None:
            text = score(metric, value, unit)
            if low is not None and high is not None:
                text += f" ({score(metric, low, unit)} to {score(metric, high, unit)})"
            rows.append({"what": what, "score": value, "low": low, "high": high, "text": text})

    low, high = _test_interval(check, contract)
    add("Test rows", contract.test_score, low, high)
    if check:
        add(
            "Estimated, before the truth comes",
            check.estimated_score,
            check.estimated_low,
            check.estimated_high,
        )
    arms = {"champion": "Measured", "canary": "Canary", "shadow": "Shadow", "earlier": "Earlier"}
    for found in live:
        name = f"{arms.get(found.arm, found.arm)}, version {found.version}, {found.labelled:,} labels"
        add(name, found.score)
    return rows


def scores(rows: Sequence[dict[str, Any]], metric: str) -> alt.LayerChart | alt.FacetChart:
    """The rows as points with their intervals; the test interval is a band behind all of them."""
    frame = pd.DataFrame(rows)
    frame["group"] = ["test"] + ["live"] * (len(frame) - 1) if len(frame) else []
    places = alt.Y("what:N", sort=None, title=None, axis=alt.Axis(labelLimit=260, ticks=False))
    axis = ui_charts.axis(tickCount=5)
    x = alt.X("score:Q", title=metric_title(metric), scale=alt.Scale(zero=False, padding=20), axis=axis)
    colour = alt.Color("group:N", scale=alt.Scale(domain=["test", "live"], range=[NEUTRAL, UP]), legend=None)
    base = alt.Chart(frame)
    tips = [alt.Tooltip("what:N", title="On"), alt.Tooltip("text:N", title=metric_title(metric))]
    spread = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3)
    band = base.transform_filter("datum.group == 'test' && isValid(datum.low)").mark_rect(
        color=NEUTRAL, opacity=0.15
    )
    return alt.layer(
        band.encode(x="low:Q", x2="high:Q"),
        spread.encode(x="low:Q", x2="high:Q", y=places, color=colour, tooltip=tips),
        base.mark_point(filled=True, size=110, opacity=1).encode(x=x, y=places, color=colour, tooltip=tips),
    )


def drift(newest: Scrape, contract: Contract) -> pd.DataFrame:
    """The stability index of each feature in the served rows, the largest first: `feature`, `psi`, `state`."""
    use_case = contract.use_case
    titles = {feature.name: feature.title for feature in contract.features}
    bound = contract.retrain.psi
    rows = [
        {
            "feature": titles.get(labels["feature"], labels["feature"]),
            "psi": value,
            "state": "over the bound" if value > bound else "within",
        }
        for labels, value in newest.of("feature_drift_psi", use_case=use_case)
    ]
    frame = pd.DataFrame(rows, columns=["feature", "psi", "state"])
    return frame.sort_values("psi", ascending=False, kind="stable")


def drift_chart(frame: pd.DataFrame, bound: float) -> alt.LayerChart | alt.FacetChart:
    """The `TOP` features that moved most, with the bound from which a training is asked for."""
    bars = (
        alt.Chart(frame.head(TOP))
        .mark_bar()
        .encode(
            x=alt.X("psi:Q", title="Stability index (PSI)", axis=ui_charts.axis(tickCount=5)),
            y=alt.Y("feature:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            color=alt.Color(
                "state:N",
                scale=alt.Scale(domain=["within", "over the bound"], range=[UP, BAD]),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=[
                alt.Tooltip("feature:N", title="Field"),
                alt.Tooltip("psi:Q", title="Stability index", format=".3f"),
            ],
        )
    )
    rule = alt.Chart(pd.DataFrame({"bound": [bound]})).mark_rule(
        color=NEUTRAL, strokeDash=[4, 4], strokeWidth=2
    )
    return bars + rule.encode(x="bound:Q")


def prediction_rows(found: Sequence[LoggedPrediction], contract: Contract) -> list[dict[str, Any]]:
    """The log as a table, newest first."""
    target = contract.target
    return [
        {
            "When (UTC)": f"{entry.predicted_at:%Y-%m-%d %H:%M:%S}",
            label(target): show(target, entry.prediction),
            "True value": show(target, entry.feedback[-1].actual) if entry.feedback else "–",
            "Version": entry.version,
            "Prediction id": entry.id,
        }
        for entry in found
    ]


def _test_interval(check: LiveCheck | None, contract: Contract) -> tuple[float | None, float | None]:
    if check and check.version and check.test_low is not None:
        return check.test_low, check.test_high
    known = contract.evaluation.intervals.get(contract.metric) if contract.evaluation else None
    return known or (None, None)


def _order(version: str) -> int:
    return -int(version) if version.isdigit() else 0
