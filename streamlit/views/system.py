"""System: the firing alerts and what people noted on them, the state of the services, and links to them."""

from datetime import datetime

import ui_alerts
import ui_frame
from ui_settings import settings

import streamlit as st
from mlops_lab.client import AlertNote
from mlops_lab.errors import LabError
from mlops_lab.form import fault
from mlops_lab.formatting import counted, literal


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    st.caption(f"Updated every {settings().page_refresh} seconds.")
    if url := settings().alertmanager_url:
        _alerts(url)
    _card(
        "Inference",
        "API that predicts",
        _inference(),
        {"API": f"{settings().inference_link}/docs", "Metrics": f"{settings().inference_link}/metrics"},
    )
    _card("MLflow", "Runs, models and their artifacts", _mlflow(), {"Open": settings().mlflow_page()})
    if url := settings().airflow_url:
        _card("Airflow", "Runs the loop", (None, "not called by this page"), {"Open": url})
    watching = {"Grafana": settings().grafana_public_url, "Prometheus": settings().prometheus_public_url}
    watching["Alertmanager"] = settings().alertmanager_public_url or settings().alertmanager_url
    if links := {name: url for name, url in watching.items() if url}:
        _card("Watching", "Dashboards, figures, alerts", (None, "not called by this page"), links)


def _alerts(url: str) -> None:
    st.subheader("Alerts")
    try:
        alerts, watched = ui_alerts.firing(url)
    except LabError as error:
        st.warning(literal(error))
        return
    if not watched:
        st.warning(
            "Prometheus doesn't report to Alertmanager, so alerts that should fire may be missing. "
            f"[What to do]({ui_alerts.runbook(ui_alerts.WATCHDOG)})"
        )
    elif not alerts:
        st.success("Nothing fires.")
    notes: list[AlertNote] | None = None
    with ui_frame.friendly():
        notes = ui_frame.inference().alert_notes()
    for alert in alerts:
        show = st.error if alert.severity == "page" else st.warning
        show(
            f"**{literal(alert.summary)}**  \n{literal(alert.description)}  \n"
            f":small[{literal(alert.name)}, since {_time(alert.since)}] · [What to do]({ui_alerts.runbook(alert.name)})"
        )
        # While the notes can't be read, nothing is said about them.
        if notes is not None:
            # In a container of its own a new note doesn't move the form, which would close it.
            with st.container():
                for note in reversed(alert.notes(notes)):
                    # A person's text is never read as Markdown.
                    st.text(f"{note.action.capitalize()} by {note.who}, {_time(note.at)}: {note.why}")
            _note_form(alert)
    if notes:
        _history(notes)


def _note_form(alert: ui_alerts.Alert) -> None:
    key = f"note {alert.fingerprint} "
    with st.expander("Acknowledge or conclude"), st.form(f"{key}form"):
        left, right = st.columns([1, 3])
        left.text_input("Your name", key=f"{key}who", max_chars=80)
        right.text_input("Reason, or what was done", key=f"{key}why", max_chars=1000)
        with st.container(horizontal=True):
            for button, action in (("Acknowledge", "acknowledged"), ("Conclude", "concluded")):
                st.form_submit_button(button, on_click=_note, args=(alert, action, key))
        if text := st.session_state.pop(f"{key}fault", None):
            st.warning(text)


def _note(alert: ui_alerts.Alert, action: str, key: str) -> None:
    """Keeps what was typed. It runs before the page is drawn, so the page has the new note."""
    who, why = (st.session_state[f"{key}{name}"].strip() for name in ("who", "why"))
    if not (who and why):
        st.session_state[f"{key}fault"] = "Your name and a reason are needed."
        return
    try:
        ui_frame.inference().note_alert(alert.name, alert.fingerprint, alert.summary[:1000], action, who, why)
        st.session_state[f"{key}why"] = ""
    except LabError as error:
        st.session_state[f"{key}fault"] = fault(error)


def _history(notes: list[AlertNote]) -> None:
    st.caption("What people did about alerts, the newest first")
    st.dataframe(
        [
            {
                "When (UTC)": f"{note.at:%Y-%m-%d %H:%M}",
                "Alert": note.summary,
                "What": note.action,
                "Who": note.who,
                "Why": note.why,
                "Runbook": ui_alerts.runbook(note.alert),
            }
            for note in notes
        ],
        column_config={"Runbook": st.column_config.LinkColumn(display_text=r"alert=(.*)")},
        hide_index=True,
    )


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _inference() -> tuple[bool, str]:
    try:
        found = ui_frame.inference().models()
    except LabError as error:
        return False, str(error)
    names = ", ".join(f"{m.use_case} version {m.version}" for m in found.models if m.version)
    served = f"serves {names}" if names else "" if found.unknown else "alive, serves no model yet"
    text = "; ".join(part for part in (served, found.unknown) if part)
    return bool(names) and not found.unknown, text


def _mlflow() -> tuple[bool, str]:
    try:
        if not ui_frame.tracking().health():
            return False, "answers, but isn't healthy"
        return True, f"healthy, {counted(len(ui_frame.tracking().use_cases()), 'use case')}"
    except LabError as error:
        return False, str(error)


def _card(name: str, about: str, state: tuple[bool | None, str], links: dict[str, str]) -> None:
    good, text = state
    colour = {True: "green", False: "orange", None: "gray"}[good]
    with st.container(border=True):
        left, middle, right = st.columns([2, 4, 2], vertical_alignment="center")
        left.markdown(f"**{name}**  \n:gray[{about}]")
        middle.markdown(f":{colour}[●] {literal(text)}")
        right.markdown(" · ".join(f"[{label}]({link})" for label, link in links.items()))


page()
