"""Models: the champion in words, every decision on a version, which candidates win, and one version in detail."""

from collections.abc import Sequence
from contextlib import suppress

import altair as alt
import pandas as pd
import ui_acts
import ui_charts
import ui_compare
import ui_frame
import ui_runs
import ui_version
import ui_versions
from ui_settings import settings
from ui_tracking import NotFoundError

import streamlit as st
from mlops_lab.client import ModelVersion
from mlops_lab.form import OUTCOME_COLOURS, about_metric, in_words, metric_title, questions, typical_error
from mlops_lab.formatting import literal, score
from mlops_lab.metrics import greater_is_better
from mlops_lab.model.tags import VersionTags

PARTS = ["Candidates", "Model card", "Pictures", "Compare"]


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
        metric = next((v.facts.metric for v in versions if v.facts.metric), "")
        for question in questions(versions):
            st.warning(question, icon=":material/how_to_reg:")
        ui_acts.acts(use_case, versions)
        _champion(versions, metric)
        _table(use_case, ui_versions.version_table(versions), metric)
        _candidates(versions)
        _details(use_case, versions, metric)


def _champion(versions: list[ModelVersion], metric: str) -> None:
    champion = next((version for version in versions if version.is_champion), None)
    if champion is None:
        ui_frame.say_empty("**No champion yet.** No version has been promoted so far; the reasons are below.")
        return
    facts, contract = champion.facts, None
    with ui_frame.friendly(), suppress(NotFoundError):
        contract = ui_runs.contract(champion.run_id)
    unit = contract.target.unit if contract else None
    cells = st.columns([3, 4, 5, 3, 5])
    cells[0].metric("Champion", f"Version {champion.version}", border=True)
    cells[1].metric("Candidate", facts.candidate or "–", border=True)
    title = metric_title(metric)
    if contract and (typical := typical_error(contract)):
        words = "Half of the test rows are closer to the true value than the per cent; the amount is the mean error."
        cells[2].metric("Typical error", typical, help=words, border=True)
    else:
        cells[2].metric(title, score(metric, facts.test, unit), help=about_metric(metric), border=True)
    cells[3].metric(
        "On sealed rows",
        score(metric, facts.sealed, unit),
        help=f"{title} on rows that no decision has read. {about_metric(metric)}",
        border=True,
    )
    cells[4].metric("Against the naive baseline", _gained(facts, metric, unit), border=True)
    used = ui_versions.holdout_use(versions)
    st.markdown(
        f":small[{literal(metric)}: {about_metric(metric)} "
        f"{f'{used[:1].upper()}{used[1:]}, so the test score may look a little too good. ' if used else ''}"
        "The sealed rows are read once for each champion, and nothing is decided by them: "
        f"{literal(facts.sealed_words or 'none are stored yet')}. Each training's decision, with both models on "
        "the same rows, is on the page Loop.]"
    )


def _gained(facts: VersionTags, metric: str, unit: str | None) -> str:
    """A share of the baseline's error, where smaller is better; of an AUC or an accuracy both numbers say more."""
    if facts.test is None or facts.baseline is None:
        return "–"
    gain = ui_versions.gain(facts.test, facts.baseline, metric)
    if greater_is_better(metric) or gain is None:
        return f"{score(metric, facts.test, unit)} against {score(metric, facts.baseline, unit)}"
    return f"{abs(gain):.0%} {'less' if gain >= 0 else 'more'} error"


def _table(use_case: str, frame: pd.DataFrame, metric: str) -> None:
    st.header("Versions", anchor=False)
    decided = ui_versions.decisions(frame)
    only = len(decided) < len(frame) and st.toggle(
        f"Only the {len(decided)} of {len(frame)} versions that were decided on",
        True,
        key=f"{use_case} decided",
    )
    column, title = st.column_config, metric_title(metric)
    st.dataframe(
        decided if only else frame,
        hide_index=True,
        placeholder="–",
        alt=f"Versions of the model, the newest first: scores, outcome and reason. Metric: {title}.",
        column_order=[
            "version",
            "aliases",
            "candidate",
            "outcome",
            "reason",
            "test",
            "sealed",
            "baseline",
            "created",
        ],
        column_config={
            "version": column.NumberColumn("Version", width=65),
            "aliases": column.TextColumn("Alias", width=90),
            "candidate": column.TextColumn("Candidate", width=190),
            "outcome": column.TextColumn("Outcome", width=90),
            "reason": column.TextColumn("Why", help="in short; the figures are below, by version", width=430),
            "test": column.NumberColumn(
                "Test",
                help=f"{title}, on the test rows of its training: only versions of one training are comparable",
                format="%.4g",
                width=70,
            ),
            "sealed": column.NumberColumn("Sealed", help=f"{title}, champions only", format="%.4g", width=70),
            "baseline": column.NumberColumn(
                "Naive", help=f"{title} of the naive baseline", format="%.4g", width=70
            ),
            "created": column.DatetimeColumn("Created", format="YYYY-MM-DD HH:mm", width=130),
        },
    )


def _candidates(versions: Sequence[ModelVersion]) -> None:
    frame = ui_versions.behind(versions)
    if frame.empty:
        return
    st.header("Which candidates win", anchor=False)
    st.markdown(
        ":small[One dot for each candidate and training: how much more error it had than the best one, on the same "
        "validation rows. The one at 0% challenged the champion. In brackets: how often it was the best.]"
    )
    won = frame[frame["behind"] == 0]["candidate"].value_counts()
    trainings = frame.groupby("candidate").size()
    names = {name: f"{name} ({won.get(name, 0)} of {trainings[name]})" for name in trainings.index}
    frame["name"] = frame["candidate"].map(names)
    shown = [outcome for outcome in OUTCOME_COLOURS if (frame["outcome"] == outcome).any()]
    order = frame.groupby("name")["behind"].median().sort_values().index.tolist()
    chart = (
        alt.Chart(frame)
        .mark_circle(size=110, opacity=0.7)
        .encode(
            x=alt.X(
                "behind:Q",
                title="More error than the best candidate",
                axis=ui_charts.axis(format=".0%", tickCount=6),
                scale=alt.Scale(domainMin=0, nice=True),
            ),
            y=alt.Y("name:N", title=None, sort=order, axis=ui_charts.axis(labelLimit=250, grid=True)),
            color=alt.Color(
                "outcome:N",
                scale=alt.Scale(domain=shown, range=[OUTCOME_COLOURS[outcome] for outcome in shown]),
                legend=ui_charts.legend(),
            ),
            tooltip=[
                alt.Tooltip("candidate:N", title="Candidate"),
                alt.Tooltip("version:O", title="Version"),
                alt.Tooltip("batch:O", title="Batch"),
                alt.Tooltip("outcome:N", title="Outcome"),
                alt.Tooltip("behind:Q", title="More error", format=".1%"),
            ],
        )
    )
    st.altair_chart(
        chart,
        height=160 + 32 * len(order),
        alt=f"Dot plot of the candidates' errors in each training: {'; '.join(order)}.",
    )


def _details(use_case: str, versions: list[ModelVersion], metric: str) -> None:
    st.header("One version", anchor=False)
    by_number = {version.version: version for version in versions}
    champion = next((v for v in versions if v.is_champion), versions[0])
    chosen = st.selectbox(
        "Version",
        list(by_number),
        index=versions.index(champion),
        key=f"{use_case} version",
        format_func=lambda number_: ui_versions.name(by_number[number_]),
        label_visibility="collapsed",
    )
    version, tags = by_number[chosen], by_number[chosen].facts
    if tags.reason:
        st.markdown(f"**{literal(tags.outcome.capitalize() or 'Outcome')}:** {in_words(tags.reason)}")
    try:
        runs = ui_runs.training(version.run_id)
    except NotFoundError:
        ui_frame.say_empty("**The run of this version was deleted from MLflow**, with its scores and plots.")
        return
    run = runs[0]
    facts = [] if tags.batch_number is None else [f"Trained after batch {tags.batch_number}"]
    facts += [f"digest `{tags.digest[:12]}`"] if tags.digest else []
    link = settings().run_page(run.experiment_id, run.id)
    facts.append(f"[run in MLflow]({link})")
    st.markdown(" · ".join(facts))
    # Only the open part is drawn, and asks for what it shows.
    for part, draw in zip(
        st.tabs(PARTS, key=f"{use_case} models parts", on_change="rerun"),
        (
            lambda: ui_version.candidates(runs, versions, metric),
            lambda: ui_version.model_card(version),
            lambda: ui_version.pictures(run),
            lambda: ui_compare.draw(use_case, version, versions),
        ),
        strict=True,
    ):
        if part.open:
            with part, ui_frame.friendly():
                try:
                    draw()
                except NotFoundError as error:
                    st.caption(f"Not in MLflow any more: {literal(error)}.")


page()
