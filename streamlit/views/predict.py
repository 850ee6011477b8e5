"""Predict: the form made from the champion's contract, the prediction, its explanation, and the ground truth."""

from html import escape

import ui_answer
import ui_batch
import ui_form
import ui_frame
import ui_snippets

import streamlit as st
from mlops_lab.client import ExplainReply, PredictReply
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, NoChampionError
from mlops_lab.features import Category, Number
from mlops_lab.form import (
    PREVIEW,
    STREAMLIT_OPTIONS,
    certainty,
    example_weights,
    label,
    probability,
    rounded,
    row_refused,
)
from mlops_lab.formatting import literal, number

# Read by screen readers alone.
HIDDEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"


@st.fragment
def page() -> None:
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        served = ui_frame.served(use_case)
        if served.version is None:
            raise NoChampionError(use_case)
        contract = ui_frame.contract(use_case, served.version)
        weights = _weights(use_case, served.version)
        if contract.description:
            st.caption(literal(contract.description))
        left, right = st.columns([3, 2], gap="large")
        box = left.container(border=True)
        drawn, row = ui_form.drawn(contract), ui_form.row(contract)

        def form() -> None:
            with box:
                ui_form.form(contract, weights)
                predict, reset = st.columns([3, 1])
                predict.button("Predict", type="primary", width="stretch", on_click=_ask, args=(contract,))
                reset.button("Reset", on_click=ui_form.reset, args=(contract,), width="stretch")
                _look_up(contract)

        def answer() -> None:
            with right:
                _answer(contract, served.version, row, weights)

        # After a change, the answer is waited for, and the form is there already.
        for part in (answer, form) if drawn else (form, answer):
            part()
        with left:
            ui_snippets.snippets(contract, row)
            ui_batch.file_rows(contract)


def _ask(contract: Contract) -> None:
    """The next run logs the prediction for the form's row."""
    st.session_state[_asked(contract)] = True


def _answer(contract: Contract, version: int, row: dict, weights: dict[str, float]) -> None:
    """The preview of this row, or its logged prediction. A refusal names every field and its rule."""
    place = st.container()
    field = _curve_field(contract, weights)
    try:
        with place, st.spinner("Predicting"):
            if st.session_state.pop(_asked(contract), False):
                reply = ui_frame.inference().predict(contract.use_case, [row], interval=True)
                st.session_state[_slot(contract)] = (row, version, reply)
            explanation = _explained(contract.use_case, version, row, field)
    except ContractError as error:
        place.error(row_refused(contract, error))
        return
    except LabError as error:
        with place:
            ui_frame.say_fault(error)
        return
    logged = st.session_state.get(_slot(contract))
    with place:
        _prediction(contract, explanation)
        if logged and logged[:2] == (row, version):
            _logged(contract, logged[2])
        else:
            st.caption(PREVIEW)
        _rare_values(contract, row)
        st.subheader("Explanation (SHAP values)", anchor=False)
        ui_answer.waterfall(contract, row, explanation)
        st.subheader("What if", anchor=False)
    feature = next(feature for feature in contract.features if feature.name == field)
    ui_answer.curve(contract, feature, explanation)


def _prediction(contract: Contract, explanation: ExplainReply) -> None:
    target, limits = contract.target, explanation.interval
    value = rounded(contract, explanation.prediction, limits)
    exact = f"Not rounded: {number(explanation.prediction, 9)}" if isinstance(target, Number) else None
    st.metric(literal(label(target)), value, border=True, help=exact)
    st.html(f'<div role="status" style="{HIDDEN}">{escape(f"{label(target)}: {value}")}</div>')
    if said := certainty(contract, limits, explanation.interval_level):
        st.caption(said)
    if target.description:
        st.caption(literal(target.description))
    if shares := explanation.probabilities:
        if contract.task == "binary":
            st.caption(probability(contract, shares, explanation.threshold))
            ui_answer.probability(shares["true"], explanation.threshold)
        else:
            ui_answer.classes(contract, shares)


def _logged(contract: Contract, reply: PredictReply) -> None:
    """The id of a logged prediction, and the form for its true value."""
    prediction = reply.prediction_ids[0]
    st.caption(f"Logged, by version {reply.model.version} of {literal(reply.model.name)}. Its id:")
    st.code(prediction, language=None)
    with st.expander("Tell the true value"), st.form(f"feedback {prediction}", border=False):
        actual = ui_form.field(contract.target, f"actual {prediction}")
        if st.form_submit_button("Send"):
            if actual is None:
                st.warning(f"Fill in the {literal(contract.target.title.lower())} first.")
                return
            with ui_frame.friendly():
                ui_frame.inference().feedback(contract.use_case, prediction, actual)
                st.success("The ground truth is stored with this prediction.")
        st.caption(
            "It is used for the live error. To train on it as well, send it to `POST /feedback` with its group key."
        )


def _curve_field(contract: Contract, weights: dict[str, float]) -> str:
    """The field whose curve is shown; at first the number that moves the example most."""
    features = sorted(
        contract.features, key=lambda f: (-abs(weights.get(f.name, 0.0)), not isinstance(f, Number))
    )
    titles = {feature.name: feature.title for feature in contract.features}
    return st.selectbox(
        "How the prediction changes with",
        [feature.name for feature in features],
        format_func=titles.__getitem__,
        key=f"{contract.use_case} curve",
        persist_state="session",
    )


def _rare_values(contract: Contract, row: dict) -> None:
    """Names the values that have no code in the vocabulary, with similar values that have one."""
    for feature in contract.features:
        value = row[feature.name]
        if isinstance(feature, Category) and not feature.knows(value if value is None else str(value)):
            text = f"{literal(feature.title)} “{literal(value)}” is rare or absent in the training rows."
            similar = literal(", ".join(feature.search(str(value)[:3])[:5]))
            st.caption(text + (f" Similar frequent values: {similar}." if similar else ""))


def _look_up(contract: Contract) -> None:
    """A search in the categories that have too many values for the page."""
    large = [f for f in contract.features if isinstance(f, Category) and len(f.values) > STREAMLIT_OPTIONS]
    if not large:
        return
    with st.expander("Look up a value"):
        feature = st.selectbox(
            "Field", large, format_func=lambda f: f.title, key=f"{contract.use_case} look up"
        )
        text = st.text_input("Contains", key=f"{contract.use_case} look up text")
        found = feature.search(text)
        if not found:
            st.caption("No value contains that.")
        with st.container(horizontal=True, gap="small"):
            for value in found[:20]:
                st.button(
                    literal(feature.label(value)),
                    on_click=_take,
                    args=(ui_form.key_of(contract.use_case, feature), value),
                    key=f"take {value}",
                )


def _take(key: str, value: str) -> None:
    st.session_state[key] = value


class _OtherVersionError(Exception):
    """Another version answered, in the seconds until the page knows of it, or by a trial. Its reply isn't kept."""

    def __init__(self, reply: ExplainReply):
        super().__init__()
        self.reply = reply


def _explained(use_case: str, version: int, row: dict, field: str) -> ExplainReply:
    try:
        return _explained_by(use_case, version, row, field)
    except _OtherVersionError as other:
        return other.reply


@st.cache_data(max_entries=500, show_spinner=False)
def _explained_by(use_case: str, version: int, row: dict, field: str) -> ExplainReply:
    """A version's answer to a row never changes. The service logs nothing of it."""
    reply = ui_frame.inference().explain(use_case, row, field)
    if reply.model is None or reply.model.version != version:
        raise _OtherVersionError(reply)
    return reply


def _weights(use_case: str, version: int) -> dict[str, float]:
    """The importance of each field; empty while there is none, then the form has the contract's order."""
    try:
        return _example_weights(use_case, version)
    except LabError:
        return {}


@st.cache_data(max_entries=50, show_spinner=False)
def _example_weights(use_case: str, version: int) -> dict[str, float]:
    return example_weights(ui_frame.inference(), ui_frame.contract(use_case, version))


def _asked(contract: Contract) -> str:
    return f"{contract.use_case} asked"


def _slot(contract: Contract) -> str:
    return f"{contract.use_case} logged"


page()
