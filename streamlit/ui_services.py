"""The services that the System page shows: how each is asked for its state, and where a person opens it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import ui_traffic
from ui_probes import Probes, State
from ui_settings import settings
from ui_tracking import Tracking

import streamlit as st
from mlops_lab.client import ServiceAwayError
from mlops_lab.formatting import counted
from mlops_lab.live_client import LiveClient
from mlops_lab.traffic import ScrapeError, read_scrape

# Seconds that a service may take for its state, and that a page waits for all of them.
SECONDS, PATIENCE = 3.0, 1.0
# The one query to Prometheus: what it scrapes, and what the exporter probes.
UP = '{__name__=~"up|lab_up|lab_airflow_component_up"}'


@dataclass(frozen=True)
class Service:
    """One card. links: label → address for the person's browser. probe: None where this page has no way to ask."""

    name: str
    about: str
    links: dict[str, str]
    probe: Callable[[], State] | None = None


def services() -> list[Service]:
    """Those that the settings name, in the order of a request."""
    known = settings()
    found = [
        Service(
            "Prediction API",
            "Predicts and explains",
            {"Open": known.inference_link, "Documentation": f"{known.inference_link}/docs"},
            partial(prediction_api, ui_traffic.client(), ui_traffic.watch()),
        ),
        Service("MLflow", "Runs, models and their files", {"Open": known.mlflow_page()}, mlflow),
    ]
    # Where Prometheus watches, the pages' network has no way to the Data API, and Prometheus tells.
    data_api = bare(known.data_api_url)
    if known.prometheus:
        found.append(Service("Data API", "Serves the batches", {}))
    else:
        found.append(
            Service("Data API", "Serves the batches", {"Open": data_api}, partial(data_api_state, data_api))
        )
    if known.airflow_url or known.airflow_api_url:
        links = {"Open": known.airflow_url} if known.airflow_url else {}
        url = (known.airflow_api_url or "").rstrip("/")
        found.append(Service("Airflow", "Runs the loop", links, partial(airflow, url) if url else None))
    if url := known.gradio_url:
        found.append(Service("Gradio", "The small page", {"Open": url}, partial(page_state, url)))
    if url := known.prometheus:
        public = known.prometheus_public_url
        links = {"Open": public} if public else {}
        found.append(Service("Prometheus", "Collects figures", links, partial(prometheus, url.rstrip("/"))))
    if url := known.grafana_public_url:
        found.append(Service("Grafana", "Dashboards over days", {"Open": url}))
    return found


@st.cache_resource
def probes() -> Probes:
    """Shared by every tab."""
    asked = {service.name: service.probe for service in services() if service.probe}
    return Probes(asked, max(2.0, settings().page_refresh / 2), PATIENCE)


def states() -> dict[str, State]:
    """By name of the service; a service that nothing tells about isn't there."""
    found = probes().look()
    for state in list(found.values()):
        found |= {name: other for name, other in state.others.items() if name not in found}
    return found


def prediction_api(client: LiveClient, watch: ui_traffic.Watch) -> State:
    """Which versions it serves, and its traffic."""
    found = client.models()
    served = [
        f"{model.title or model.use_case} version {model.version}" for model in found.models if model.version
    ]
    serves = (
        f"serves {', '.join(served)}" if served else "" if found.unknown else "alive, serves no model yet"
    )
    scrapes = watch.look()
    text = "; ".join(part for part in (serves, found.unknown, ui_traffic.in_words(scrapes)) if part)
    return State(bool(served) and not found.unknown, text, started=scrapes[-1].started)


def mlflow() -> State:
    """Healthy or not, and how many use cases it has."""
    known = settings()
    password = known.mlflow_password.get_secret_value() if known.mlflow_password else ""
    login = (known.mlflow_username, password) if known.mlflow_username and password else None
    tracking = Tracking(known.mlflow_url, login, SECONDS)
    if not tracking.health():
        return State(False, "answers, but isn't healthy")
    return State(True, f"healthy, {counted(len(tracking.use_cases()), 'use case')}", tracking.version())


def data_api_state(url: str) -> State:
    """The lab's own says how many rows it served. Another one is only asked whether it answers, never for a batch."""
    reply = _get(url, "/health", "Data API")
    if not reply.is_success:
        return State(True, f"answers {reply.status_code} to /health: another server than the lab's own")
    try:
        scrape = read_scrape(_get(url, "/metrics", "Data API").text, 0.0)
    except ScrapeError:
        return State(True, "alive")
    rows = sum(value for _, value in scrape.of("datos_rows_served_total"))
    return State(True, f"alive, {counted(int(rows), 'row')} served since its start", started=scrape.started)


def airflow(url: str) -> State:
    """Its components, as Airflow says them. One without a status doesn't run here."""
    components = _json(_get(url, "/api/v2/monitor/health", "Airflow"), "Airflow")
    states = {name: about.get("status") for name, about in components.items() if isinstance(about, dict)}
    named = {
        name.replace("metadatabase", "database").replace("_", " "): state for name, state in states.items()
    }
    ill = [name for name, state in named.items() if state not in (None, "healthy")]
    version = _json(_get(url, "/api/v2/version", "Airflow"), "Airflow").get("version", "")
    if ill:
        return State(False, f"not healthy: {', '.join(ill)}", version)
    healthy = [name for name, state in named.items() if state == "healthy"]
    return State(True, f"healthy: {', '.join(healthy)}", version)


def page_state(url: str) -> State:
    """Whether the page answers."""
    reply = _get(url.rstrip("/"), "/", "Gradio")
    return State(reply.is_success, "alive" if reply.is_success else f"answers {reply.status_code}")


def prometheus(url: str) -> State:
    """What it can read. It also tells about the services that this page can't reach."""
    reply = _get(url, "/api/v1/query", "Prometheus", query=UP)
    try:
        found = [
            (entry["metric"], float(entry["value"][1]))
            for entry in _json(reply, "Prometheus")["data"]["result"]
        ]
    except (KeyError, TypeError, ValueError, IndexError):
        raise ServiceAwayError(f"the service at {url} isn't a Prometheus") from None
    up: dict[str, float] = {}
    for labels, value in found:
        if labels["__name__"] == "up":
            # Of a service with several replicas one that answers is enough.
            up[labels.get("job", "")] = max(value, up.get(labels.get("job", ""), 0.0))
    probed = {labels.get("service", ""): value for labels, value in found if labels["__name__"] == "lab_up"}
    parts = [
        (labels["component"].replace("_", " "), value)
        for labels, value in found
        if labels["__name__"] == "lab_airflow_component_up"
    ]
    others = {
        name: State(value > 0, "Prometheus reads it" if value else "Prometheus can't read it")
        for name, value in (("Data API", up.get("data-api")), ("Grafana", up.get("grafana")))
        if value is not None
    }
    if "airflow" in probed:
        ill = [name for name, value in parts if not value] if probed["airflow"] else ["it doesn't answer"]
        healthy = f"healthy: {', '.join(name for name, _ in parts)}"
        others["Airflow"] = State(not ill, f"not healthy: {', '.join(ill)}" if ill else healthy)
    silent = sorted({name for name, value in (*up.items(), *probed.items()) if not value})
    if silent:
        return State(False, f"doesn't hear from {', '.join(silent)}", others=others)
    return State(True, f"hears from all {len(up) + len(probed)} services that it asks", others=others)


def bare(url: str) -> str:
    """The address of the Data API without data set, query and login."""
    parts = urlsplit(url.replace("{dataset}", ""))
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def since(started: float | None, now: datetime) -> str:
    """How long a service has been up; empty where it doesn't say."""
    if started is None or not math.isfinite(started) or started <= 0:
        return ""
    return f"up for {ui_traffic.ago(max(0.0, now.timestamp() - started))}"


def _get(url: str, path: str, name: str, **query: str) -> httpx.Response:
    try:
        return httpx.get(f"{url}{path}", params=query, timeout=SECONDS)
    except httpx.TimeoutException:
        raise ServiceAwayError(f"{name} at {url} takes too long") from None
    except (httpx.HTTPError, httpx.InvalidURL):
        raise ServiceAwayError(f"{name} at {url} doesn't answer") from None


def _json(reply: httpx.Response, name: str) -> dict[str, Any]:
    try:
        body = reply.json()
    except ValueError:
        body = None
    if not reply.is_success or not isinstance(body, dict):
        raise ServiceAwayError(f"the service that answers isn't {name} ({reply.status_code})")
    return body
