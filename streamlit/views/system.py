"""System: the firing alerts, the state of the services, and links to them."""

import ui_alerts
import ui_frame
from ui_settings import settings

import streamlit as st
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted


@st.fragment(run_every=settings().page_refresh)
def page() -> None:
    st.title("System")
    st.caption(f"Updated every {settings().page_refresh} seconds.")
    if url := settings().alertmanager_url:
        _alerts(url)
    _card(
        "Inference",
        "API that predicts",
        _inference(),
        {"API": f"{settings().inference_link}/docs", "Metrics": f"{settings().inference_link}/metrics"},
    )
    _card("MLflow", "Runs, models and their artifacts", _mlflow(), {"Open": settings().mlflow_link})
    if url := settings().airflow_url:
        _card("Airflow", "Runs the loop", (None, "not called by this page"), {"Open": url})
    watching = {"Grafana": settings().grafana_public_url, "Prometheus": settings().prometheus_public_url}
    watching["Alertmanager"] = settings().alertmanager_public_url or settings().alertmanager_url
    if links := {name: url for name, url in watching.items() if url}:
        _card("Watching", "Dashboards, figures, alerts", (None, "not called by this page"), links)


def _alerts(url: str) -> None:
    st.subheader("Alerts")
    try:
        alerts = ui_alerts.firing(url)
    except LabError as error:
        st.warning(str(error))
        return
    if not alerts:
        st.success("Nothing fires.")
    for alert in alerts:
        show = st.error if alert.severity == "page" else st.warning
        show(
            f"**{alert.summary}**  \n{alert.description}  \n"
            f":small[{alert.name}, since {alert.since:%Y-%m-%d %H:%M} UTC] · [What to do](runbooks?alert={alert.name})"
        )


def _inference() -> tuple[bool, str]:
    try:
        ui_frame.inference().health()
        if not ui_frame.inference().ready():
            return False, "alive, serves no model yet"
        models = ui_frame.inference().models()
        return True, "serves " + ", ".join(f"{m.use_case} version {m.version}" for m in models if m.version)
    except LabError as error:
        return False, str(error)


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
        middle.markdown(f":{colour}[●] {text}")
        right.markdown(" · ".join(f"[{label}]({link})" for label, link in links.items()))


page()
