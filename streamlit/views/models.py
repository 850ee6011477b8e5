"""Models: every version of the use case, its scores, why it was promoted or refused, and its plots."""

import altair as alt
import pandas as pd
import ui_frame
import ui_versions
from pydantic import ValidationError
from ui_settings import settings
from ui_tracking import NotFoundError, Run

import streamlit as st
from mlops_lab.client import ModelVersion
from mlops_lab.contract import CONTRACT_FILE, Contract
from mlops_lab.errors import LabError
from mlops_lab.form import NEUTRAL, OUTCOME_COLOURS, in_words, questions
from mlops_lab.formatting import literal, number
from mlops_lab.metrics import greater_is_better
from mlops_lab.model.card import card
from mlops_lab.model.tags import CandidateTags

# Folders of a candidate's artifacts.
PLOTS, MODEL = "plots", "model"


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        versions = ui_frame.inference().versions(use_case)
        if not versions:
            ui_frame.say_empty(
                "**No version is registered yet.** The first training that ends registers one; "
                "this page shows it without a reload."
            )
            return
        candidates = {run.id: run for run in ui_frame.tracking().runs(use_case, CandidateTags)}
        frame = ui_versions.version_table(versions)
        metric = next((v.facts.metric for v in versions if v.facts.metric), "")
        for question in questions(versions):
            st.warning(question, icon=":material/how_to_reg:")
        _champion(versions, frame, metric)
        _history(frame, metric)
        _table(frame, metric)
        _details(use_case, versions, candidates, metric)


def _champion(versions: list[ModelVersion], frame: pd.DataFrame, metric: str) -> None:
    champions = frame[[version.is_champion for version in versions]]
    if champions.empty:
        ui_frame.say_empty("**No champion yet.** No version has been promoted so far; the reasons are below.")
        return
    champion = champions.iloc[0]
    facts = next(version for version in versions if version.is_champion).facts
    with st.container(key="figures"):
        cells = st.columns([3, 5, 3, 3, 4])
    cells[0].metric("Champion", f"Version {champion['version']}", border=True)
    cells[1].metric("Candidate", champion["candidate"] or "–", border=True)
    cells[2].metric(f"Test {metric}", number(champion["test"]), border=True)
    cells[3].metric(f"Sealed {metric}", number(champion["sealed"]), border=True)
    gain = ui_versions.gain(champion["test"], champion["baseline"], metric)
    cells[4].metric(
        "Against the baseline",
        "–" if gain is None else f"{abs(gain):.0%} {'better' if gain >= 0 else 'worse'}",
        help=f"The naive baseline's {metric} on the same rows: {number(champion['baseline'])}.",
        border=True,
    )
    used = ui_versions.holdout_use(versions)
    st.caption(
        f"{f'{used[:1].upper()}{used[1:]}, so the test score may look a little too good. ' if used else ''}"
        "The sealed rows are read once for each champion, and nothing is decided by them: "
        f"{facts.sealed_words or 'none are stored yet'}."
    )


def _history(frame: pd.DataFrame, metric: str) -> None:
    scored = ui_versions.scored(frame)
    if scored.empty:
        return
    st.subheader(f"Test {metric} by version")
    better = {True: " Higher is better.", False: " Lower is better.", None: ""}[greater_is_better(metric)]
    st.caption(
        f"Every version was scored on the test rows that existed when it was trained.{better} "
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
        color=OUTCOME_COLOURS["promoted"], opacity=0.5
    )
    points = alt.Chart(scored).mark_circle(size=140, opacity=1)
    naive = alt.Chart(scored.dropna(subset=["baseline"])).mark_line(strokeDash=[5, 4], color=NEUTRAL)
    chart = (
        naive.encode(x=x, y=alt.Y("baseline:Q", title=metric, scale=scale), tooltip=tips)
        + served.encode(x=x, y=alt.Y("test:Q", scale=scale))
        + points.encode(
            x=x,
            y=alt.Y("test:Q", title=metric, scale=scale),
            color=alt.Color(
                "outcome:N",
                scale=alt.Scale(domain=list(OUTCOME_COLOURS), range=list(OUTCOME_COLOURS.values())),
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
        frame,
        hide_index=True,
        column_config={
            "version": column.NumberColumn("Version", width=70),
            "aliases": column.TextColumn("Aliases", width=110),
            "candidate": column.TextColumn("Candidate", width=150),
            "outcome": column.TextColumn("Outcome", width=80),
            "validation": column.NumberColumn("Validation", help=metric, format="%.4g", width=80),
            "test": column.NumberColumn("Test", help=metric, format="%.4g", width=80),
            "sealed": column.NumberColumn(
                "Sealed", help=f"{metric}, champions only", format="%.4g", width=80
            ),
            "baseline": column.NumberColumn(
                "Baseline", help=f"{metric} of the naive baseline", format="%.4g", width=80
            ),
            "created": column.DatetimeColumn("Created", format="YYYY-MM-DD HH:mm", width=130),
            "reason": column.TextColumn("Why", width=600),
        },
    )


def _details(use_case: str, versions: list[ModelVersion], candidates: dict[str, Run], metric: str) -> None:
    st.subheader("One version")
    by_number = {version.version: version for version in versions}
    champion = next((v for v in versions if v.is_champion), versions[0])
    chosen = st.selectbox(
        "Version",
        list(by_number),
        index=versions.index(champion),
        key=f"{use_case} version",
        format_func=lambda number_: _name(by_number[number_]),
        label_visibility="collapsed",
    )
    version, tags = by_number[chosen], by_number[chosen].facts
    if tags.reason:
        st.markdown(f"**{literal(tags.outcome.capitalize() or 'Outcome')}:** {in_words(tags.reason)}")
    run = candidates.get(version.run_id)
    if not run:
        ui_frame.say_empty("**The run of this version was deleted from MLflow**, with its scores and plots.")
        return
    facts = [] if tags.batch_number is None else [f"Trained after batch {tags.batch_number}"]
    facts += [f"digest `{tags.digest[:12]}`"] if tags.digest else []
    link = settings().mlflow_page(f"experiments/{run.experiment_id}/runs/{run.id}")
    facts.append(f"[run in MLflow]({link})")
    st.markdown(" · ".join(facts))
    with st.expander("Model card"), ui_frame.friendly():
        st.markdown(card(_contract(run.id), version.version, tags))
    _candidates(ui_versions.rivals(run, candidates.values()), versions, metric)
    _plots(run)


def _name(version: ModelVersion) -> str:
    tags = version.facts
    parts = (f"Version {version.version}", tags.candidate, ", ".join(version.aliases) or tags.outcome)
    return " · ".join(part for part in parts if part)


def _candidates(runs: list[Run], versions: list[ModelVersion], metric: str) -> None:
    """The candidates of one training, side by side."""
    table = ui_versions.candidate_table(runs, {v.run_id: v.version for v in versions}, metric)
    column = st.column_config
    st.markdown("**Candidates of the same training**")
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "candidate": column.TextColumn("Candidate", width=170),
            "version": column.TextColumn("Version", width=70),
            "note": "Note",
            **{name: column.NumberColumn(format="%.4g") for name in ui_versions.score_columns(table)},
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
                st.markdown(f"**{literal(title.replace('Shap', 'SHAP'))}**")
                try:
                    st.image(_image(run.id, path), width="stretch")
                except NotFoundError as error:
                    st.caption(literal(error))


@st.cache_resource(max_entries=50, show_spinner=False)
def _contract(run_id: str) -> Contract:
    """The contract of a candidate's model. Raises `LabError`."""
    try:
        return Contract.model_validate_json(ui_frame.tracking().artifact(run_id, f"{MODEL}/{CONTRACT_FILE}"))
    except ValidationError as error:
        raise LabError(f"the contract of run {run_id} can't be read, so there is no model card") from error


@st.cache_data(max_entries=64, show_spinner=False)
def _image(run_id: str, path: str) -> bytes:
    return ui_frame.tracking().artifact(run_id, path)


page()
