"""What every page stands in: the clients, the chosen use case, and faults as one friendly message."""

from collections.abc import Iterator
from contextlib import contextmanager

from ui_settings import settings
from ui_tracking import Tracking

import streamlit as st
from mlops_lab.client import InferenceClient, NotReady, RequestRefused, Served
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, NoChampionError

CHOSEN = "use_case"  # also its name in the page's address
# Streamlit leaves a third of a laptop's screen empty around a wide page.
# Its figures are too large for a row of names.
STYLE = """<style>
.stMainBlockContainer {padding: 2.5rem 2.5rem 3rem}
.st-key-figures [data-testid="stMetricValue"] {font-size: 1.5rem}
</style>"""
_KNOWN, _NEWS, _SERVED = "known use cases", "news", "served"


@st.cache_resource
def inference() -> InferenceClient:
    return InferenceClient(settings().inference_url, timeout=30)


@st.cache_resource
def tracking() -> Tracking:
    password = settings().mlflow_password
    login = (
        (settings().mlflow_username, password.get_secret_value())
        if settings().mlflow_username and password
        else None
    )
    return Tracking(settings().mlflow_url, login)


@st.cache_resource(max_entries=50, show_spinner=False)
def contract(use_case: str, version: int) -> Contract:
    """The contract of a served champion; `version` makes a new champion's contract be fetched."""
    return inference().contract(use_case)


def sidebar() -> None:
    """The choice of the use case and one line for each served model. A change outside shows on the page by itself."""
    st.html(STYLE)
    with st.sidebar:
        news = _look()
        st.session_state[_NEWS] = news
        if use_cases := st.session_state[_KNOWN]:
            if CHOSEN not in st.session_state:
                st.session_state[CHOSEN] = _first(use_cases)
            st.query_params[CHOSEN] = st.selectbox("Use case", use_cases, key=CHOSEN, format_func=_title)
        _watch()


def chosen() -> str | None:
    """The use case that the person chose; None (and a message on the page) while there is none at all."""
    if st.session_state.get(_KNOWN):
        return st.session_state[CHOSEN]
    if faults := st.session_state[_NEWS][2]:
        say_away(faults[0][1])
    else:
        say_no_model()
    return None


def served(use_case: str) -> Served:
    """What the service said last of the use case, even while it is away. Raises `LabError` when it never did."""
    known = st.session_state.get(_SERVED, {}).get(use_case)
    if known:
        return known
    for name, why in st.session_state[_NEWS][2]:
        if name == "Inference":
            raise LabError(why)
    raise NoChampionError(use_case)


@contextmanager
def friendly() -> Iterator[None]:
    """Turns whatever a service refuses into one message that says what to do; the rest of the page goes on."""
    try:
        yield
    except NoChampionError:
        say_no_model()
    except LabError as error:
        say_fault(error)


def say_fault(error: LabError) -> None:
    if isinstance(error, ContractError):
        st.error("\n".join(f"- {p['field']} {p['message']}" for p in error.problems))
    elif isinstance(error, NotReady | RequestRefused):
        st.warning(f"**The service answers:** {error}", icon=":material/info:")
    else:
        say_away(str(error))


def say_no_model() -> None:
    airflow = f"[Airflow]({settings().airflow_url})" if settings().airflow_url else "Airflow"
    st.info(
        f"**No model is served yet.** Let a training run in {airflow} (or `lab run`); as soon as its model is "
        "promoted, this page shows it by itself.",
        icon=":material/hourglass_empty:",
    )


def say_away(why: str) -> None:
    st.warning(
        f"**A service is away:** {why[0].upper()}{why[1:]}. Start the lab (`make demo`, or `docker compose up`); "
        "this page goes on by itself.",
        icon=":material/cloud_off:",
    )


def say_empty(text: str) -> None:
    st.info(text, icon=":material/inbox:")


def _first(use_cases: list[str]) -> str:
    """The use case that a fresh page shows: the address's, else one that is served."""
    asked, served_ones = st.query_params.get(CHOSEN), st.session_state.get(_SERVED, {})
    return (
        asked
        if asked in use_cases
        else next((name for name in use_cases if name in served_ones), use_cases[0])
    )


def _look() -> tuple:
    """What is served, which use cases there are, and what is away: equal as long as there is no news."""
    models, names, faults = [], [], []
    try:
        models = inference().models()
        # A service that has just come back may not serve yet: the form stays while it loads.
        st.session_state.setdefault(_SERVED, {}).update({m.use_case: m for m in models if m.version})
    except LabError as error:
        faults.append(("Inference", str(error)))
    try:
        names = tracking().use_cases()
    except LabError as error:
        faults.append(("MLflow", str(error)))
    # While a service is away its use cases stay, and with them what was typed into the form.
    known = st.session_state.get(_KNOWN, []) if faults else []
    st.session_state[_KNOWN] = sorted({*known, *names, *(model.use_case for model in models)})
    return tuple((m.use_case, m.version, m.error) for m in models), tuple(names), tuple(faults)


@st.fragment(run_every=settings().page_refresh)
def _watch() -> None:
    before = st.session_state[_NEWS]
    news = _look()
    if news != before:
        st.rerun()
    models, _, faults = news
    for use_case, version, error in models:
        st.caption(
            f":green[●] {_title(use_case)}: version {version} is served"
            if version
            else f":gray[●] {_title(use_case)}: not served"
        )
        if error:
            st.caption(f":orange[●] {_title(use_case)}: {error}")
    for name, _why in faults:
        st.caption(f":orange[●] {name} is away")


def _title(use_case: str) -> str:
    known = st.session_state.get(_SERVED, {}).get(use_case)
    return known.title if known and known.title else use_case.replace("_", " ").capitalize()
