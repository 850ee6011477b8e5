"""System: the firing alerts with what people noted on them, what each service says of itself, and the runbooks.

`?alert=NAME` opens the runbook of one alert.
"""

from datetime import UTC, datetime
from urllib.parse import urlsplit

import ui_alerts
import ui_frame
import ui_services
from ui_probes import State
from ui_services import Service
from ui_settings import settings

import streamlit as st
from mlops_lab.client import AlertNote
from mlops_lab.errors import LabError
from mlops_lab.form import fault
from mlops_lab.formatting import literal


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    # The alerts are filled last: Alertmanager, or the service that keeps the notes, may hang.
    alerts = st.container()
    st.subheader("Services", anchor=False)
    known = ui_services.states()
    for service in ui_services.services():
        _card(service, known.get(service.name))
    st.markdown(f":small[Asked every {settings().page_refresh} seconds.]")
    if url := settings().alertmanager_url:
        with alerts:
            _alerts(url)


def _alerts(url: str) -> None:
    public = settings().alertmanager_public_url or url
    st.subheader("Alerts", anchor=False)
    try:
        alerts, watched = ui_alerts.firing(url)
    except LabError as error:
        st.warning(literal(error))
        return
    st.markdown(f":small[By [Alertmanager]({public}), which can also silence them.]")
    if not watched:
        st.warning(
            "Prometheus doesn't report to Alertmanager, so alerts that should fire may be missing. "
            f"[What to do]({_runbook(ui_alerts.WATCHDOG)})"
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
            f":small[{literal(alert.name)}, since {_time(alert.since)}] · [What to do]({_runbook(alert.name)})"
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
                "Runbook": _runbook(note.alert),
            }
            for note in notes
        ],
        column_config={"Runbook": st.column_config.LinkColumn(display_text=r"alert=([^&]*)")},
        hide_index=True,
    )


def _runbook(alert: str) -> str:
    return ui_alerts.runbook(alert, st.query_params.get(ui_frame.CHOSEN, ""))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _card(service: Service, state: State | None) -> None:
    state = state or State(None, "not asked by this page")
    colour, sign = {True: ("green", "●"), False: ("orange", "▲"), None: ("gray", "○")}[state.good]
    facts = [
        f"version {state.version}" if state.version else "",
        ui_services.since(state.started, datetime.now(UTC)),
    ]
    with st.container(border=True):
        left, middle, right = st.columns([2, 5, 2], vertical_alignment="center")
        left.markdown(f"**{service.name}**  \n:small[{service.about}]")
        said = f":{colour}[{sign}] {literal(f'{state.text[:1].upper()}{state.text[1:]}')}"
        known = literal(", ".join(filter(None, facts)))
        middle.markdown(f"{said}  \n:small[{known}]" if known else said)
        # Addresses of settings, some of them a person's.
        right.markdown(
            " · ".join(f"[{label}]({link})" for label, link in service.links.items() if _web(link))
        )


def _web(link: str) -> bool:
    return urlsplit(link).scheme in ("http", "https") and not set(link) & set(" ()<>")


def _asked(runbook: str) -> None:
    with st.container(border=True):
        st.subheader(f"What to do: {runbook}", anchor=False)
        st.markdown(ui_alerts.runbooks()[runbook])


def _runbooks() -> None:
    st.subheader("Runbooks", anchor=False, help="What each alert means, where to look, what to do.")
    for name, text in ui_alerts.runbooks().items():
        with st.expander(name):
            st.markdown(text)


if (alert := st.query_params.get("alert")) in ui_alerts.runbooks():
    _asked(str(alert))
page()
# Without Alertmanager nothing leads there.
if settings().alertmanager_url:
    _runbooks()
