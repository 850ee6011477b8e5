"""Shared by every page: the clients, the chosen use case, and one message for each fault."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ui_settings import settings
from ui_tracking import Tracking

import streamlit as st
from mlops_lab.client import InferenceClient, RequestRefusedError, ServedModel
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, NoChampionError
from mlops_lab.form import away, fault, no_model, problems, title_of

# The session's key of the chosen use case, and its name in the page's address.
CHOSEN = "use_case"
# By default Streamlit's wide layout has large margins on a laptop's screen.
# Its figures are too large for a row of names.
STYLE = """<style>
.stMainBlockContainer {padding: 2.5rem 2.5rem 3rem}
.st-key-figures [data-testid="stMetricValue"] {font-size: 1.5rem}
</style>"""
_KNOWN, _NEWS, _SERVED = "known use cases", "news", "served"


class Fault(NamedTuple):
    """Something that isn't known now, because a service doesn't answer.

    source: inference, registry (which the inference service can't read) or mlflow. short: one line for the sidebar.
    """

    source: str
    short: str
    message: str


class News(NamedTuple):
    """The services' replies at the last probe."""

    models: tuple[ServedModel, ...]
    use_cases: tuple[str, ...]
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


def sidebar() -> None:
    """The choice of the use case, and one line for each served model. An open page shows changes without a reload."""
    st.html(STYLE)
    with st.sidebar:
        news = _probe()
        st.session_state[_NEWS] = news
        if use_cases := st.session_state[_KNOWN]:
            if CHOSEN not in st.session_state:
                st.session_state[CHOSEN] = _first(use_cases)
            st.query_params[CHOSEN] = st.selectbox("Use case", use_cases, key=CHOSEN, format_func=_title)
        _watch()


def chosen() -> str | None:
    """The use case that the person chose. None while there is none at all; the page then shows a message."""
    if st.session_state.get(_KNOWN):
        return st.session_state[CHOSEN]
    if faults := st.session_state[_NEWS].faults:
        _say_away(faults[0].message)
    else:
        _say_no_model()
    return None


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
    st.warning(away(why), icon=":material/cloud_off:")


def say_empty(text: str) -> None:
    st.info(text, icon=":material/inbox:")


def _first(use_cases: list[str]) -> str:
    """The use case that a new page shows: the one in the address, else one that is served."""
    asked, models = st.query_params.get(CHOSEN), st.session_state.get(_SERVED, {})
    if asked in use_cases:
        return asked
    return next((name for name in use_cases if name in models), use_cases[0])


def _probe() -> News:
    """Probes both services. Two results are equal as long as nothing changed."""
    models, names, faults = (), [], []
    try:
        models, unknown = (found := inference().models()).models, found.unknown
        # A service that has just restarted may serve nothing yet. The form stays while it loads.
        st.session_state.setdefault(_SERVED, {}).update({m.use_case: m for m in models if m.version})
        if unknown:
            faults.append(Fault("registry", "Newer champions are unknown", unknown))
    except LabError as error:
        faults.append(Fault("inference", "Inference is unavailable", str(error)))
    try:
        names = tracking().use_cases()
    except LabError as error:
        faults.append(Fault("mlflow", "MLflow is unavailable", str(error)))
    # While a service doesn't answer, its use cases stay in the list, and the form keeps the typed values.
    known = st.session_state.get(_KNOWN, []) if faults else []
    st.session_state[_KNOWN] = sorted({*known, *names, *(model.use_case for model in models)})
    return News(models, tuple(names), tuple(faults))


@st.fragment(run_every=settings().page_refresh)
def _watch() -> None:
    before = st.session_state[_NEWS]
    news = _probe()
    if news != before:
        st.rerun()
    for model in news.models:
        title = _title(model.use_case)
        if model.version:
            st.caption(f":green[●] {title}: version {model.version} is served")
        else:
            st.caption(f":gray[●] {title}: not served")
        if model.error:
            st.caption(f":orange[●] {title}: {model.error}")
    for fault_ in news.faults:
        st.caption(f":orange[●] {fault_.short}")


def _title(use_case: str) -> str:
    known = st.session_state.get(_SERVED, {}).get(use_case)
    return title_of(use_case, known.title if known else "")
