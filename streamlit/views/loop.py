"""Loop: what happens with the newest batch, who is champion since when, and each challenge with its interval."""

from datetime import UTC, datetime
from typing import Literal

import ui_frame
import ui_loop
from ui_settings import settings

import streamlit as st
from mlops_lab.form import in_words, questions
from mlops_lab.formatting import literal
from mlops_lab.progress import (
    MARKS,
    NEWEST,
    BatchProgress,
    State,
    challenges,
    champions,
    duration,
    newest_batch,
)

COLOURS: dict[State, Literal["green", "blue", "red", "gray"]] = {
    "done": "green",
    "running": "blue",
    "failed": "red",
    "left out": "gray",
    "to come": "gray",
}


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        batch = newest_batch(ui_frame.tracking().newest_runs(use_case, NEWEST), datetime.now(UTC))
        if batch is None:
            ui_frame.say_empty(
                f"**No batch has been stored yet.** {ui_loop.how_to_start(use_case, settings().airflow_url)} "
                "The first one appears here without a reload."
            )
            return
        _batch(use_case, batch)
    with ui_frame.friendly():
        versions = ui_frame.inference().versions(use_case)
        for question in questions(versions):
            st.warning(question, icon=":material/how_to_reg:")
        _champions(versions)
        _challenges(versions)


def _batch(use_case: str, batch: BatchProgress) -> None:
    now = datetime.now(UTC)
    st.subheader(literal(batch.now(now)), anchor=False)
    with st.container(horizontal=True, gap="small"):
        for step in batch.steps:
            took = f" · {duration(step.seconds)}" if step.seconds is not None else ""
            st.badge(f"{MARKS[step.state]} {step.name}{took}", color=COLOURS[step.state])
    done = [f"{step.name}: {step.about}" for step in batch.steps if step.state != "to come" and step.about]
    said = [literal(" · ".join(done))] if done else []
    link = settings().run_page(batch.experiment_id, batch.run_id)
    st.markdown(f":small[{' · '.join([*said, f'[run in MLflow]({link})'])}]")
    for name, why in ((batch.decision, batch.reason), (batch.outcome, batch.outcome_reason)):
        if name and not (name == "skipped" and why == batch.reason):
            st.markdown(f"**{literal(name.capitalize())}:** {in_words(why) or 'no reason is given'}")
    st.markdown(ui_loop.what_comes(use_case, batch, settings().airflow_url))


def _champions(versions) -> None:
    terms = champions(versions)
    if not terms:
        return
    st.subheader("Champions", anchor=False)
    st.altair_chart(
        ui_loop.time_line(terms, datetime.now(UTC)),
        alt=f"Which version was champion when; now version {terms[-1].version}",
    )
    if len(terms) > ui_loop.LANES:
        st.markdown(f":small[The newest {ui_loop.LANES} of {len(terms)}.]")


def _challenges(versions) -> None:
    found = challenges(versions)
    if not found:
        return
    st.subheader("Challenger against champion", anchor=False)
    compared = [one for one in found if one.better is not None]
    if compared:
        st.markdown(
            ":small[Both were scored on the same test rows. Above the line the challenger is better; the bar is the "
            "95% interval of the difference. A bar that crosses the line is within the noise.]"
        )
        st.altair_chart(
            ui_loop.intervals(compared),
            alt="How much better each challenger was than the champion, with its 95% interval",
        )
    column = st.column_config
    st.dataframe(
        ui_loop.table(found),
        hide_index=True,
        column_config={
            "version": column.NumberColumn("Challenger", width=80),
            "against": column.TextColumn("Champion", width=80),
            "candidate": column.TextColumn("Candidate", width=150),
            "outcome": column.TextColumn("Outcome", width=90),
            "result": column.TextColumn("Result", width=430),
            "decided": column.DatetimeColumn("Decided (UTC)", format="YYYY-MM-DD HH:mm", width=130),
            "why": column.TextColumn("Why", width=600),
        },
        alt="Each challenge, the newest first, with its result and its reason",
    )


page()
