"""Models: every version of the champion's line, its scores, why it was promoted or refused, and its plots."""

import math

import altair as alt
import pandas as pd
import ui_frame
from ui_settings import settings
from ui_tracking import ModelVersion, NotFound, Run

import streamlit as st
from mlops_lab.formatting import number

COLOURS = {"promoted": "#2f8f5b", "refused": "#b5543c", "not chosen": "#8a8f98"}
PLOTS = "plots"  # folder of a candidate's artifacts
GREATER = {"roc_auc", "accuracy", "f1", "r2", "average_precision"}  # metrics of which more is better


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    st.title("Models")
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        versions = ui_frame.tracking().versions(use_case)
        candidates = {run.id: run for run in ui_frame.tracking().runs(use_case, "candidate")}
        if not versions:
            ui_frame.say_empty(
                "**No version is registered yet.** The first training that ends registers one; "
                "this page shows it by itself."
            )
            return
        frame = pd.DataFrame([_row(version, candidates.get(version.run_id)) for version in versions])
        metric = next((name for name in frame["metric"] if name), "")
        _champion(frame, metric)
        _history(frame, metric)
        _table(frame, metric)
        _details(versions, frame, candidates, metric)


def _row(version: ModelVersion, run: Run | None) -> dict:
    """One version for the table: from its tags, or from its run where a tag is missing."""
    tags, metrics = version.tags, run.metrics if run else {}
    metric = tags.get("lab.metric", "")
    return {
        "version": version.version,
        "aliases": ", ".join(version.aliases),
        "candidate": tags.get("lab.candidate") or (run.tags.get("lab.candidate", "") if run else ""),
        "outcome": tags.get("lab.outcome", ""),
        "validation": _number(tags.get("lab.validation"), metrics.get(f"validation.{metric}")),
        "test": _number(tags.get("lab.test"), metrics.get(f"test.{metric}")),
        "baseline": _number(None, metrics.get(f"baseline.test.{metric}")),
        "created": version.created,
        "reason": tags.get("lab.reason", ""),
        "batch": tags.get("lab.batch_number", ""),
        "metric": metric,
    }


def _champion(frame: pd.DataFrame, metric: str) -> None:
    champions = frame[frame["aliases"].str.contains("champion")]
    if champions.empty:
        ui_frame.say_empty("**No champion yet.** No version has been promoted so far; the reasons are below.")
        return
    champion = champions.iloc[0]
    with st.container(key="figures"):
        cells = st.columns([3, 5, 3, 4])
    cells[0].metric("Champion", f"Version {champion['version']}", border=True)
    cells[1].metric("Candidate", champion["candidate"] or "–", border=True)
    cells[2].metric(f"Test {metric}", number(champion["test"]), border=True)
    gain = _gain(champion["test"], champion["baseline"], metric)
    cells[3].metric(
        "Against the baseline",
        "–" if gain is None else f"{abs(gain):.0%} {'better' if gain >= 0 else 'worse'}",
        help=f"The naive baseline's {metric} on the same rows: {number(champion['baseline'])}.",
        border=True,
    )


def _history(frame: pd.DataFrame, metric: str) -> None:
    scored = frame.dropna(subset=["test"]).assign(
        outcome=lambda f: f["outcome"].where(f["outcome"].isin(COLOURS), "not chosen")
    )
    if scored.empty:
        return
    st.subheader(f"Test {metric} by version")
    better = "higher" if metric in GREATER else "lower"
    st.caption(
        f"Each version's own score on the test rows of its day; {better} is better. "
        "The dashed line is the naive baseline."
    )
    x = alt.X("version:O", title="Version", axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(zero=False, padding=20)
    tips = [
        "version:O",
        "candidate",
        "outcome",
        alt.Tooltip("test:Q", format=",.4~g"),
        alt.Tooltip("baseline:Q", format=",.4~g"),
    ]
    served = alt.Chart(scored[scored["outcome"] == "promoted"]).mark_line(
        color=COLOURS["promoted"], opacity=0.5
    )
    points = alt.Chart(scored).mark_circle(size=140, opacity=1)
    naive = alt.Chart(scored.dropna(subset=["baseline"])).mark_line(
        strokeDash=[5, 4], color=COLOURS["not chosen"]
    )
    chart = (
        naive.encode(x=x, y=alt.Y("baseline:Q", title=metric, scale=scale), tooltip=tips)
        + served.encode(x=x, y=alt.Y("test:Q", scale=scale))
        + points.encode(
            x=x,
            y=alt.Y("test:Q", title=metric, scale=scale),
            color=alt.Color(
                "outcome:N",
                scale=alt.Scale(domain=list(COLOURS), range=list(COLOURS.values())),
                legend=alt.Legend(title=None, orient="top"),
            ),
            tooltip=tips,
        )
    )
    st.altair_chart(chart, height=280)


def _table(frame: pd.DataFrame, metric: str) -> None:
    st.subheader("Versions")
    column = st.column_config
    st.dataframe(
        frame.drop(columns=["metric", "batch"]),
        hide_index=True,
        column_config={
            "version": column.NumberColumn("Version", width=70),
            "aliases": column.TextColumn("Aliases", width=110),
            "candidate": column.TextColumn("Candidate", width=150),
            "outcome": column.TextColumn("Outcome", width=80),
            "validation": column.NumberColumn("Validation", help=metric, format="%.4g", width=80),
            "test": column.NumberColumn("Test", help=metric, format="%.4g", width=80),
            "baseline": column.NumberColumn(
                "Baseline", help=f"{metric} of the naive baseline", format="%.4g", width=80
            ),
            "created": column.DatetimeColumn("Created", format="YYYY-MM-DD HH:mm", width=130),
            "reason": column.TextColumn("Why", width=600),
        },
    )


def _details(
    versions: list[ModelVersion], frame: pd.DataFrame, candidates: dict[str, Run], metric: str
) -> None:
    st.subheader("One version")
    by_number = {version.version: version for version in versions}
    champion = next((v.version for v in versions if "champion" in v.aliases), versions[0].version)
    key = f"{st.session_state[ui_frame.CHOSEN]} version"
    numbers = list(by_number)
    chosen = st.selectbox(
        "Version",
        numbers,
        index=numbers.index(champion),
        key=key,
        format_func=lambda n: _named(n, frame),
        label_visibility="collapsed",
    )
    version, row = by_number[chosen], frame[frame["version"] == chosen].iloc[0]
    if row["reason"]:
        st.markdown(f"**{str(row['outcome']).capitalize() or 'Outcome'}:** {row['reason']}")
    run = candidates.get(version.run_id)
    if not run:
        ui_frame.say_empty(
            "**The run of this version is gone from MLflow**, and its scores and plots with it."
        )
        return
    facts = [f"Trained after batch {row['batch']}"] if row["batch"] else []
    facts += [f"digest `{version.tags['lab.digest'][:12]}`"] if version.tags.get("lab.digest") else []
    facts.append(f"[run in MLflow]({settings().mlflow_link}/#/experiments/{run.experiment_id}/runs/{run.id})")
    st.markdown(" · ".join(facts))
    _rivals(run, candidates, {v.run_id: v.version for v in versions}, metric)
    _plots(run)


def _rivals(run: Run, candidates: dict[str, Run], versions: dict[str, int], metric: str) -> None:
    """The candidates that were trained on the same batch."""
    rivals = [r for r in candidates.values() if r.parent and r.parent == run.parent] or [run]
    table = pd.DataFrame(
        [
            {
                "candidate": rival.tags.get("lab.candidate") or rival.name,
                "version": str(versions.get(rival.id, "")),
                **{f"val. {m}": v for m, v in _scores(rival, "validation.").items()},
                **{f"test {m}": v for m, v in _scores(rival, "test.").items()},
                "note": rival.tags.get("lab.outcome_reason", ""),
            }
            for rival in rivals
        ]
    )
    scores = [name for name in table if name.startswith(("val. ", "test "))]
    scores.sort(key=lambda name: not name.endswith(f" {metric}"))
    if (first := f"val. {metric}") in table:
        table = table.sort_values(first, ascending=metric not in GREATER)
    st.markdown("**Candidates of the same training**")
    note = ["note"] if table["note"].any() else []
    st.dataframe(
        table[["candidate", "version", *scores, *note]],
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(format="%.4g") for name in scores}
        | {
            "candidate": st.column_config.TextColumn("Candidate", width=170),
            "version": st.column_config.TextColumn("Version", width=70),
            "note": "Note",
        },
    )


def _plots(run: Run) -> None:
    images = [path for path in ui_frame.tracking().artifacts(run.id, PLOTS) if path.endswith(".png")]
    if not images:
        st.caption("This run has no plots.")
        return
    images.sort(key=lambda path: (not path.endswith("shap_summary.png"), path))
    for start in range(0, len(images), 2):
        for cell, path in zip(st.columns(2), images[start : start + 2], strict=False):
            with cell, st.container(border=True):
                title = path.rpartition("/")[2].removesuffix(".png").replace("_", " ").capitalize()
                st.markdown(f"**{title.replace('Shap', 'SHAP')}**")
                try:
                    st.image(_image(run.id, path), width="stretch")
                except NotFound as error:
                    st.caption(str(error))


@st.cache_data(max_entries=64, show_spinner=False)
def _image(run_id: str, path: str) -> bytes:
    return ui_frame.tracking().artifact(run_id, path)


def _named(number_: int, frame: pd.DataFrame) -> str:
    row = frame[frame["version"] == number_].iloc[0]
    return " · ".join(
        part for part in (f"Version {number_}", row["candidate"], row["aliases"] or row["outcome"]) if part
    )


def _scores(run: Run, prefix: str) -> dict[str, float]:
    return {
        key.removeprefix(prefix): value
        for key, value in sorted(run.metrics.items())
        if key.startswith(prefix)
    }


def _gain(score: float, baseline: float, metric: str) -> float | None:
    """How much better than the baseline, as a share of it."""
    if not (math.isfinite(score) and math.isfinite(baseline)) or baseline == 0:
        return None
    return (score - baseline) / abs(baseline) * (1 if metric in GREATER else -1)


def _number(text: str | None, otherwise: float | None) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan if otherwise is None else otherwise


page()
