"""Shared by every page: the clients, the chosen use case, and one message for each fault."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ui_settings import settings
from ui_tracking import Tracking

import streamlit as st
from mlops_lab.client import InferenceClient, RequestRefusedError, ServedModel
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, NoChampionError
from mlops_lab.form import away, fault, no_model, problems, title_of
from mlops_lab.formatting import literal

# The session's key of the chosen use case, and its name in the page's address.
CHOSEN = "use_case"
ICON, LOGO = (str(Path(__file__).parent / name) for name in ("icon.svg", "logo.svg"))
ABOUT = "A batch arrives, a challenger is trained, the better model serves."
# By default Streamlit's wide layout has large margins on a laptop's screen.
STYLE = """<style>
.stMainBlockContainer {padding: 4.5rem 2.5rem 3rem}
@media (max-width: 640px) {.stMainBlockContainer {padding: 4.5rem 1rem 2rem}}
/* Streamlit's grey has a contrast of 3.8 with the background. */
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {color: inherit; opacity: .87}
/* The primary colour is a background for white text; as text of a dark page it has a contrast of 3.7. */
[data-testid="stTab"][aria-selected="true"] {color: light-dark(#1f5fa8, #8bbcf0)}
</style>"""
_KNOWN, _NEWS, _SERVED, _ASKED = "known use cases", "news", "served", "asked use case"


class Fault(NamedTuple):
    """Something that isn't known now, because a service doesn't answer.

    source: inference, registry (which the inference service can't read) or mlflow. short: what is away.
    """

    source: str
    short: str
    message: str


class News(NamedTuple):
    """The services' replies at the last probe.

    use_cases: those with runs in MLflow, with their titles; an empty title where MLflow doesn't have it.
    """

    models: tuple[ServedModel, ...]
    use_cases: tuple[tuple[str, str], ...]
    faults: tuple[Fault, ...]


# Seconds that a request to the service may take.
INFERENCE_SECONDS, MLFLOW_SECONDS = 30.0, 10.0


@st.cache_resource
def inference() -> InferenceClient:
    return InferenceClient(settings().inference_url, INFERENCE_SECONDS, key=settings().api_key)


@st.cache_resource
def tracking() -> Tracking:
    user, password = settings().mlflow_username, settings().mlflow_password
    login = (user, password.get_secret_value()) if user and password else None
    return Tracking(settings().mlflow_url, login, MLFLOW_SECONDS)


@st.cache_resource(max_entries=50, show_spinner=False)
def contract(use_case: str, version: int) -> Contract:
    """The contract of a served champion. A new `version` has a cache entry of its own."""
    return inference().contract(use_case)


def head(title: str) -> None:
    """The title, the choice of the use case, and what is served. An open page shows changes without a reload."""
    st.set_page_config(page_title=f"{title} · MLOps lab", page_icon=ICON, layout="wide")
    st.html(STYLE)
    st.logo(LOGO, size="large")
    left, right = st.columns([5, 3], vertical_alignment="bottom")
    with left:
        # The title stands before the first call, so that nobody waits before an empty page.
        st.title(title, anchor=False)
        st.markdown(f":small[{ABOUT}]")
    with right:
        st.session_state[_NEWS] = _probe()
        # In containers of their own, what comes and goes doesn't move the page below, which would be drawn twice.
        with st.container():
            _choose()
        with st.container():
            _watch()
    with st.container():
        _notices()


def chosen() -> str | None:
    """The use case that the person chose. None while there is none at all; the page then shows a message."""
    if st.session_state.get(_KNOWN):
        return st.session_state[CHOSEN]
    # The notice in the page's head says which service is away.
    if not st.session_state[_NEWS].faults:
        _say_no_model()
    return None


def title(use_case: str) -> str:
    """The use case's title, of its champion or of its experiment. It is the person's text: see `literal`."""
    known = st.session_state.get(_SERVED, {}).get(use_case)
    noted = dict(st.session_state[_NEWS].use_cases).get(use_case, "")
    return title_of(use_case, (known.title if known else "") or noted)


def served(use_case: str) -> ServedModel:
    """The last reply of the service about the use case, also while it doesn't answer. Raises `LabError` without one."""
    known = st.session_state.get(_SERVED, {}).get(use_case)
    if known:
        return known
    for fault_ in st.session_state[_NEWS].faults:
        if fault_.source != "mlflow":
            raise LabError(fault_.message)
    raise NoChampionError(use_case)


@contextmanager
def friendly() -> Iterator[None]:
    """Turns an error of a service into one message that says what to do. The rest of the page is still drawn."""
    try:
        yield
    except NoChampionError:
        _say_no_model()
    except LabError as error:
        say_fault(error)


def say_fault(error: LabError) -> None:
    if isinstance(error, ContractError):
        st.error(problems(error))
    elif isinstance(error, RequestRefusedError):
        st.warning(fault(error), icon=":material/info:")
    else:
        _say_away(str(error))


def _say_no_model() -> None:
    st.info(no_model(settings().airflow_url), icon=":material/hourglass_empty:")


def _say_away(why: str) -> None:
    # What the page's head says isn't said twice.
    if why not in [fault_.message for fault_ in st.session_state[_NEWS].faults]:
        st.warning(away(why), icon=":material/cloud_off:")


def say_empty(text: str) -> None:
    st.info(text, icon=":material/inbox:")


def _choose() -> None:
    """The box with the use cases.

    The choice has a key of its own. The box's key depends on the titles: the browser keeps a box's text when a title
    changes, and would send it back as a choice that doesn't exist any more.
    """
    if not (use_cases := st.session_state[_KNOWN]):
        return
    titles = [title(name) for name in use_cases]
    if st.session_state.get(_ASKED) in use_cases:
        st.session_state[CHOSEN] = st.session_state.pop(_ASKED)
    if st.session_state.get(CHOSEN) not in use_cases:
        st.session_state[CHOSEN] = _first(use_cases)
    picked = st.selectbox(
        "Use case",
        use_cases,
        index=use_cases.index(st.session_state[CHOSEN]),
        key=f"use case of {titles}",
        format_func=lambda name: titles[use_cases.index(name)],
        label_visibility="collapsed",
    )
    if picked != st.session_state[CHOSEN]:
        st.session_state[CHOSEN] = picked
        st.session_state.pop(_ASKED, None)
    st.query_params[CHOSEN] = picked


def _first(use_cases: list[str]) -> str:
    """The use case that a new page shows: the one in the address, else the one that was trained last."""
    if (asked := st.query_params.get(CHOSEN)) in use_cases:
        return asked
    if asked:
        st.session_state[_ASKED] = asked
    models = st.session_state.get(_SERVED, {})
    newest = newest_trained(tuple(sorted(models)))
    return newest or next((name for name in use_cases if name in models), use_cases[0])


# A probe is shared by all tabs for this many seconds; an open page shows a change after the next one.
PROBE_SECONDS = min(5.0, settings().page_refresh / 2)


@st.cache_resource(ttl=PROBE_SECONDS, show_spinner=False)
def newest_trained(served: tuple[str, ...]) -> str | None:
    """The served use case with the newest candidate; None where MLflow doesn't say."""
    try:
        newest = tracking().newest_trained()
    except LabError:
        return None
    return newest if newest in served else None


@st.cache_resource(ttl=PROBE_SECONDS, show_spinner=False)
def look() -> News:
    """What the services say now."""
    models, names, faults = (), {}, []
    try:
        models, unknown = (found := inference().models()).models, found.unknown
        if unknown:
            faults.append(Fault("registry", "Newer champions are unknown", unknown))
    except LabError as error:
        faults.append(Fault("inference", "Inference is unavailable", str(error)))
    try:
        names = tracking().use_cases()
    except LabError as error:
        faults.append(Fault("mlflow", "MLflow is unavailable", str(error)))
    return News(models, tuple(sorted(names.items())), tuple(faults))


def _probe() -> News:
    """Probes both services. Two results are equal as long as nothing changed."""
    news = look()
    # A service that has just restarted may serve nothing yet. The form stays while it loads.
    st.session_state.setdefault(_SERVED, {}).update({m.use_case: m for m in news.models if m.version})
    # While a service doesn't answer, its use cases stay in the list, and the form keeps the typed values.
    known = st.session_state.get(_KNOWN, []) if news.faults else []
    names = [*dict(news.use_cases), *(model.use_case for model in news.models)]
    st.session_state[_KNOWN] = sorted({*known, *names})
    return news


@st.fragment(run_every=settings().page_refresh)
def _watch() -> None:
    before = st.session_state[_NEWS]
    news = _probe()
    if news != before:
        st.rerun()
    shown = st.session_state.get(CHOSEN)
    for model in news.models:
        if model.use_case != shown:
            continue
        name = literal(title(model.use_case))
        if model.version:
            st.markdown(f":small[:green[●] {name}: version {model.version} is served]")
        else:
            st.markdown(f":small[:gray[●] {name}: not served]")
        if model.error:
            st.markdown(f":small[:orange[●] {name}: {literal(model.error)}]")


def _notices() -> None:
    """What concerns the whole page: a service is away, or the address names an unknown use case."""
    for fault_ in st.session_state[_NEWS].faults:
        st.warning(away(fault_.message, fault_.short), icon=":material/cloud_off:")
    if asked := st.session_state.get(_ASKED):
        st.warning(
            f"There is no use case “{literal(asked)}” (yet). This is {literal(title(st.session_state[CHOSEN]))}.",
            icon=":material/help:",
        )
