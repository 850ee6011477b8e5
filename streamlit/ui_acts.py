"""What a person may do on the page Models: approve or reject the version that waits, and roll back.

Airflow does it, as the person who signs in here with Airflow's login: so it knows who, and refuses who may not. Its
token is only in the person's session on this server. A dialog says what will happen and asks for the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ui_settings import settings

import streamlit as st
from mlops_lab.client import ModelVersion
from mlops_lab.form import in_words, metric_title
from mlops_lab.formatting import literal, score
from mlops_lab.local.airflow_client import FINAL, AirflowClient, AirflowError

# The first two are also the options of the question in Airflow (dags/approval.py).
APPROVE, REJECT, ROLL_BACK = "Approve", "Reject", "Roll back"
# Keys of the session: the act whose dialog is open, who signed in, what Airflow works on, and what came of it.
_ACT, _LOGIN, _SENT, _SAID = "act", "airflow login", "act sent", "act said"
# Seconds in which Airflow may fail to answer, and between two looks at what it does.
PATIENCE, LOOK = 10.0, 2.0
REASON = 1000  # characters


@dataclass(frozen=True)
class Act:
    """One thing to decide: the version that it is about, and the champion at the time."""

    kind: str
    use_case: str
    version: int
    champion: int | None

    @property
    def dag(self) -> str:
        """`UseCase.approval_dag` or `UseCase.rollback_dag`."""
        return f"{self.use_case}_{'rollback' if self.kind == ROLL_BACK else 'approval'}"


@dataclass(frozen=True)
class Login:
    """Who signed in, with Airflow's token."""

    name: str
    token: str


def acts(use_case: str, versions: Sequence[ModelVersion]) -> None:
    """The buttons, and the dialog of the one that was pressed. Nothing where the page has no Airflow to act by."""
    if settings().airflow_api_url is None:
        return
    champion = next((version.version for version in versions if version.is_champion), None)
    asked = next((version.version for version in versions if version.facts.outcome == "waiting"), None)
    possible = [Act(kind, use_case, asked, champion) for kind in (APPROVE, REJECT)] if asked else []
    if champion and (earlier := _earlier(versions)):
        possible.append(Act(ROLL_BACK, use_case, earlier[0], champion))
    with st.container(horizontal=True):
        for act in possible:
            words = act.kind if act.kind == ROLL_BACK else f"{act.kind} version {act.version}"
            st.button(f"{words} …", key=f"{use_case} {act.kind}", on_click=_open, args=(act,))
    # The page draws itself again every few seconds. A dialog that isn't drawn again closes.
    if (act := st.session_state.get(_ACT)) and act.use_case == use_case:
        title = act.kind if act.kind == ROLL_BACK else f"{act.kind} version {act.version}"
        st.dialog(title, on_dismiss=_close)(_content)(act, versions)


def _earlier(versions: Sequence[ModelVersion]) -> list[int]:
    """The versions that were champion before, the one before the champion first."""
    found = [v for v in versions if v.facts.outcome in ("promoted", "rolled back") and not v.is_champion]
    return [v.version for v in sorted(found, key=lambda v: ("previous" not in v.aliases, -v.version))]


def _open(act: Act) -> None:
    _close()
    st.session_state[_ACT] = act


def _close() -> None:
    for key in (_ACT, _SENT, _SAID):
        st.session_state.pop(key, None)


def _content(act: Act, versions: Sequence[ModelVersion]) -> None:
    if _SENT in st.session_state:
        _result(act)
        return
    by_number = {version.version: version for version in versions}
    if act.kind == ROLL_BACK:
        earlier = _earlier(versions)
        chosen = st.selectbox("Back to", earlier, key="act version", format_func=lambda v: f"Version {v}")
        act = Act(ROLL_BACK, act.use_case, chosen or act.version, act.champion)
    _consequence(act, by_number)
    if (login := st.session_state.get(_LOGIN)) is None:
        _sign_in_form()
        return
    with st.form("act", border=False):
        st.text_area("Reason; it is recorded with your name", key="act reason", max_chars=REASON)
        words = f"Roll back to version {act.version}" if act.kind == ROLL_BACK else act.kind
        st.form_submit_button(words, type="primary", on_click=_send, args=(act,))
    st.button(f"Sign out {login.name}", type="tertiary", on_click=_sign_out)
    _fault()


def _consequence(act: Act, versions: dict[int, ModelVersion]) -> None:
    """Which version goes and which comes, with their scores."""
    lines = {
        APPROVE: ("Champion until now", act.champion, "Champion from now on", act.version),
        REJECT: ("Stays champion", act.champion, "Isn't promoted", act.version),
        ROLL_BACK: ("Champion until now", act.champion, "Champion again", act.version),
    }[act.kind]
    for words, number_ in (lines[:2], lines[2:]):
        st.markdown(f"**{words}:** {_about(versions.get(number_ or 0))}")
    # Their scores are on different rows. How the two compare on the same ones, the decision says.
    decided = versions.get(act.champion or 0) if act.kind == ROLL_BACK else versions.get(act.version)
    if decided and decided.facts.reason:
        st.markdown(f":small[Version {decided.version}: {in_words(decided.facts.reason)}]")


def _about(version: ModelVersion | None) -> str:
    if version is None:
        return "none"
    facts = version.facts
    found = [f"version {version.version}", literal(facts.candidate)]
    if facts.batch_number is not None:
        found.append(f"trained after batch {facts.batch_number}")
    if facts.test is not None:
        value = score(facts.metric, facts.test)
        found.append(f"{literal(metric_title(facts.metric))} {value} on the test rows of that time")
    return ", ".join(part for part in found if part)


def _sign_in_form() -> None:
    with st.form("sign in", border=False):
        st.markdown("Sign in with your login of Airflow. The decision is recorded with your name.")
        st.text_input("User", key="act user", max_chars=80, autocomplete="username")
        st.text_input("Password", key="act password", type="password", autocomplete="current-password")
        st.form_submit_button("Sign in", type="primary", on_click=_sign_in)
    _fault()


def _sign_in() -> None:
    user, password = st.session_state["act user"].strip(), st.session_state["act password"]
    st.session_state["act password"] = ""  # it isn't kept
    if not (user and password):
        st.session_state[_SAID] = "User and password are needed."
        return
    try:
        token = AirflowClient(_url(), user, password, patience=PATIENCE).sign_in()
    except AirflowError as error:
        refused = error.status is not None and error.status < 500
        st.session_state[_SAID] = "Airflow refuses this user and password." if refused else _why(error)
        return
    st.session_state[_LOGIN] = Login(user, token)
    st.session_state.pop(_SAID, None)


def _sign_out() -> None:
    st.session_state.pop(_LOGIN, None)
    st.session_state.pop(_SAID, None)


def _send(act: Act) -> None:
    """Gives the decision to Airflow. It runs before the dialog is drawn, so the dialog has what came of it."""
    reason = st.session_state["act reason"].strip()
    if not reason:
        st.session_state[_SAID] = "The reason is missing: the record says why."
        return
    st.session_state.pop(_SAID, None)
    try:
        airflow = _airflow()
        if act.kind == ROLL_BACK:
            run = airflow.trigger(act.dag, version=act.version, champion=act.champion, reason=reason)
        else:
            run = _answered(airflow, act, reason)
        if run:
            st.session_state[_SENT] = run
    except AirflowError as error:
        if error.status == 401:
            st.session_state.pop(_LOGIN, None)
        st.session_state[_SAID] = _why(error)


def _answered(airflow: AirflowClient, act: Act, reason: str) -> str | None:
    """Answers the question about the version; None when Airflow doesn't ask it."""
    words = f"promote version {act.version}?"
    asked = next((one for one in airflow.questions(act.dag) if one.subject.endswith(words)), None)
    if asked is None:
        st.session_state[_SAID] = (
            f"Airflow doesn't ask about version {act.version}: it was answered, its time limit is over, "
            f"or the next run of {act.use_case}_training will ask."
        )
        return None
    airflow.answer(act.dag, asked.run, act.kind, reason)
    return asked.run


def _why(error: AirflowError) -> str:
    """What Airflow said, for the person."""
    match error.status:
        case 401:
            return "Your login has ended; sign in again."
        case 403:
            return "Airflow doesn't allow you this: your login needs the right to run DAGs."
        case 404:
            return (
                "Airflow has no DAG for this. It has one for approvals only where the use case asks a person."
            )
        case 409:
            return "Somebody else was quicker, or the time limit is over: this was answered already."
        case None:
            return "Airflow doesn't answer, so nothing was decided. Try again, or use the command `lab`."
    return f"Airflow refused it ({error.status}), so nothing was decided."


def _fault() -> None:
    if text := st.session_state.get(_SAID):
        st.warning(literal(text), icon=":material/info:")


@st.fragment(run_every=LOOK)
def _result(act: Act) -> None:
    """What became of the decision; looked at until Airflow has carried it out."""
    if _SAID not in st.session_state:
        try:
            airflow, run = _airflow(), st.session_state[_SENT]
            state = airflow.run(act.dag, run)["state"]
            if state not in FINAL:
                st.markdown(f"Your decision is recorded. Airflow carries it out: {literal(state)} …")
                return
            done = {APPROVE: "is champion now", REJECT: "isn't promoted", ROLL_BACK: "is champion again"}
            st.session_state[_SAID] = (
                f"Done: version {act.version} {done[act.kind]}."
                if state == "success"
                else f"It failed: {airflow.fault(act.dag, run)}"
            )
        except AirflowError as error:
            st.warning(literal(_why(error)), icon=":material/info:")
            return
    said = st.session_state[_SAID]
    (st.success if said.startswith("Done") else st.error)(literal(said))
    if st.button("Close", on_click=_close):
        st.rerun()


def _airflow() -> AirflowClient:
    return AirflowClient(_url(), token=st.session_state[_LOGIN].token, patience=PATIENCE)


def _url() -> str:
    return settings().airflow_api_url or ""
