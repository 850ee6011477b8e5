"""The newest predictions, and the way of one back to its data, for the Live page.

The log holds callers' rows. So it is read with a key that may read it: the pages' own one, where it was given that
right, or one that the person types, which stays in this browser's session.
"""

import re

import ui_frame
import ui_live
import ui_traffic
from pydantic import SecretStr
from ui_settings import settings

import streamlit as st
from mlops_lab.client import RequestRefusedError
from mlops_lab.contract import Contract
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted, literal, show
from mlops_lab.live_client import LiveClient, LoggedPrediction
from mlops_lab.model.tags import CandidateTags

# Predictions in the table.
NEWEST = 20
# The session keeps the key itself: Streamlit forgets the value of a box that isn't drawn any more.
_KEY, _TYPED, _ID = "key for the log", "typed key for the log", "prediction id"


@st.cache_data(ttl=settings().page_refresh / 2, show_spinner=False, max_entries=50)
def newest(use_case: str, key: str) -> list[LoggedPrediction]:
    """With the key as a part of the entry's name: who has no right never gets another one's entry."""
    return _client(key).predictions(use_case, NEWEST)


@st.cache_data(ttl=settings().page_refresh / 2, show_spinner=False, max_entries=50)
def one(prediction_id: str, key: str) -> LoggedPrediction:
    return _client(key).prediction(prediction_id)


def section(contract: Contract) -> None:
    """Both, or one line that says which right is missing."""
    st.subheader("Newest predictions", anchor=False)
    key = st.session_state.get(_KEY, "")
    try:
        found = newest(contract.use_case, key)
    except RequestRefusedError as error:
        if error.status not in (401, 403):
            raise
        _ask_for_key(error)
        return
    picked = None
    if found:
        chosen = st.dataframe(
            ui_live.prediction_rows(found, contract),
            hide_index=True,
            on_select="rerun",
            selection_mode="single-row",
            key=f"{contract.use_case} newest",
            alt="The newest predictions, the newest first",
        )
        if rows := chosen["selection"]["rows"]:
            picked = found[rows[0]].id if rows[0] < len(found) else None
        st.markdown(":small[Choose a row to see where its prediction comes from.]")
    else:
        st.markdown("Nobody has asked this use case for a prediction yet.")
    typed = st.text_input("Prediction id", key=_ID, placeholder="32 hexadecimal digits, from a reply")
    if wanted := (typed or "").strip().lower() or picked:
        _trace(wanted, key, contract)


def _ask_for_key(error: LabError) -> None:
    st.markdown(f"They are shown to whoever may read the prediction log: {literal(error)}.")
    if "LAB_API_KEYS isn't set" in str(error):
        return
    st.text_input(
        "API key with the right to read",
        type="password",
        key=_TYPED,
        on_change=_keep_key,
        help="`make passwords` shows one in the stack; `lab keys new` makes one. It stays in this browser's session.",
    )


def _keep_key() -> None:
    st.session_state[_KEY] = st.session_state[_TYPED].strip()


def _trace(prediction_id: str, key: str, contract: Contract) -> None:
    """Prediction → version → run → batches → payloads."""
    if not re.fullmatch(r"[0-9a-f]{32}", prediction_id):
        st.warning("A prediction id has 32 hexadecimal digits.")
        return
    try:
        found = one(prediction_id, key)
        run = ui_frame.tracking().run(found.run_id)
    except LabError as error:
        ui_frame.say_fault(error)
        return
    link = settings().run_page(run.experiment_id, run.id)
    candidate = CandidateTags.from_mlflow(run.tags).candidate or run.name
    with st.container(border=True):
        st.markdown(
            f"**Prediction** `{found.id}`, {found.predicted_at:%Y-%m-%d %H:%M:%S} UTC, "
            f"request {literal(found.request_id)}  \n"
            f"**Version** {found.version} of {literal(found.use_case)}, {literal(candidate)}: "
            f"[its run in MLflow]({link})"
        )
        truths = [show(contract.target, truth.actual) for truth in found.feedback]
        if truths:
            st.markdown(f"**True value** {literal(truths[-1])}")
        if run.payloads:
            st.markdown(f"**Learnt from** {counted(len(run.payloads), 'batch', 'batches')}:")
            st.dataframe(
                [{"Batch": name, "Payload, as it arrived": url} for name, url in run.payloads],
                hide_index=True,
                alt="The batches that the version learnt from, with their payloads",
            )
        else:
            st.markdown("**Learnt from** batches that its run in MLflow doesn't name.")
        with st.expander("The row"):
            names = {feature.name: feature for feature in contract.features}
            st.dataframe(
                [
                    {"Field": names[name].title, "Value": show(names[name], value)}
                    if name in names
                    else {"Field": name, "Value": str(value)}
                    for name, value in found.row.items()
                ],
                hide_index=True,
                alt="The row that was predicted",
            )


def _client(key: str) -> LiveClient:
    return ui_traffic.client_of(SecretStr(key) if key else settings().api_key)
