"""Predict: the form made from the champion's contract, the prediction, its explanation, and the ground truth."""

import altair as alt
import pandas as pd
import ui_batch
import ui_form
import ui_frame
import ui_snippets

import streamlit as st
from mlops_lab.client import ExplainReply, PredictReply
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError, NoChampionError
from mlops_lab.features import Category
from mlops_lab.form import (
    DOWN,
    HINT,
    NO_EXPLANATION,
    STREAMLIT_OPTIONS,
    UP,
    amount,
    contributions,
    example_weights,
    explained,
    interval,
    label,
    made_by,
    probability,
    row_refused,
)
from mlops_lab.formatting import literal, show


@st.fragment
def page() -> None:
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        served = ui_frame.served(use_case)
        if served.version is None:
            raise NoChampionError(use_case)
        contract = ui_frame.contract(use_case, served.version)
        if contract.description:
            st.caption(literal(contract.description))
        left, right = st.columns([3, 2], gap="large")
        with left, st.container(border=True):
            row = ui_form.form(contract, _weights(use_case, served.version))
            asked = st.button("Predict", type="primary", width="stretch")
            _look_up(contract)
        with right:
            if asked:
                _ask(contract, row)
            _answer(contract, row)
        ui_snippets.snippets(contract, row)
        ui_batch.file_rows(contract)


def _ask(contract: Contract, row: dict) -> None:
    """Predicts the row and keeps the answer. A refusal is shown, and the earlier answer is removed."""
    st.session_state.pop(_slot(contract), None)
    try:
        reply = ui_frame.inference().predict(contract.use_case, [row], interval=True)
    except ContractError as error:
        st.error(row_refused(contract, error))
        return
    except LabError as error:
        ui_frame.say_fault(error)
        return
    try:
        with st.spinner("Computing the explanation"):
            explanation = ui_frame.inference().explain(contract.use_case, row)
    except LabError as error:
        explanation = str(error)
    st.session_state[_slot(contract)] = (row, reply, explanation)


def _answer(contract: Contract, row: dict) -> None:
    if _slot(contract) not in st.session_state:
        st.caption(HINT)
        return
    asked, reply, explanation = st.session_state[_slot(contract)]
    _prediction(contract, reply)
    if asked != row:
        st.caption("The form has changed since this prediction.")
    _rare_values(contract, asked)
    if isinstance(explanation, ExplainReply):
        _explanation(contract, asked, explanation)
    else:
        st.caption(f"{NO_EXPLANATION} {literal(explanation)}")
    _feedback(contract, reply)


def _prediction(contract: Contract, reply: PredictReply) -> None:
    target = contract.target
    st.metric(literal(label(target)), show(target, reply.predictions[0]), border=True)
    if between := interval(contract, reply):
        st.caption(between)
    # Where classes are numbers, the description explains them.
    if target.description:
        st.caption(literal(target.description))
    if reply.probabilities:
        shares = reply.probabilities[0]
        if contract.task == "binary":
            st.progress(min(max(shares["true"], 0.0), 1.0), probability(contract, reply))
        else:
            _classes(shares)
    st.caption(made_by(reply))


def _classes(shares: dict[str, float]) -> None:
    """Bars of the probability of each class."""
    frame = pd.DataFrame({"class": list(shares), "probability": list(shares.values())})
    axis = alt.Axis(format="%", values=[0, 0.5, 1])
    bars = (
        alt.Chart(frame)
        .mark_bar(color=UP)
        .encode(
            x=alt.X("probability:Q", axis=axis, title=None, scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("class:N", sort="-x", title=None, axis=alt.Axis(labelLimit=220)),
            tooltip=["class", alt.Tooltip("probability:Q", format=".2%")],
        )
    )
    st.altair_chart(bars.properties(height=alt.Step(22)))


def _rare_values(contract: Contract, row: dict) -> None:
    """Names the values that have no code in the vocabulary, with similar values that have one."""
    for feature in contract.features:
        value = row[feature.name]
        if isinstance(feature, Category) and not feature.knows(value if value is None else str(value)):
            text = f"{literal(feature.title)} “{literal(value)}” is rare or absent in the training rows."
            try:
                similar = ui_frame.inference().values(contract.use_case, feature.name, str(value)[:3])
            except LabError:
                similar = []
            st.caption(
                text + (f" Similar frequent values: {literal(', '.join(similar[:5]))}." if similar else "")
            )


def _explanation(contract: Contract, row: dict, explanation: ExplainReply) -> None:
    """The bars of the explanation: one for each of the strongest fields, one for the rest."""
    st.markdown("#### Explanation (SHAP values)")
    frame = pd.DataFrame(
        {"field": bar.label, "moved": bar.value} for bar in contributions(contract, row, explanation)
    )
    frame["by"] = [amount(contract, value) for value in frame["moved"]]
    frame["way"] = ["up" if value >= 0 else "down" for value in frame["moved"]]
    axis = alt.Axis(format="~s" if contract.task == "regression" else "+.1%", tickCount=4)
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("moved:Q", title=explained(contract, explanation), axis=axis),
            y=alt.Y("field:N", sort=None, title=None, axis=alt.Axis(labelLimit=190)),
            color=alt.Color("way:N", scale=alt.Scale(domain=["up", "down"], range=[UP, DOWN]), legend=None),
            tooltip=[alt.Tooltip("field", title="Field"), alt.Tooltip("by", title="Moved by")],
        )
    )
    st.altair_chart(chart.properties(height=alt.Step(24)))
    base, result = (literal(amount(contract, v)) for v in (explanation.base_value, explanation.explained))
    st.caption(
        f"The average prediction for typical rows is {base}. With the sum of all bars it becomes {result}."
    )


def _feedback(contract: Contract, reply: PredictReply) -> None:
    prediction = reply.prediction_ids[0]
    with st.expander("Send the ground truth"), st.form(f"feedback {prediction}", border=False):
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
        found = ui_frame.inference().values(contract.use_case, feature.name, text)
        if not found:
            st.caption("No value contains that.")
        with st.container(horizontal=True, gap="small"):
            for value in found[:20]:
                st.button(
                    literal(value),
                    on_click=_take,
                    args=(ui_form.key_of(contract.use_case, feature), value),
                    key=f"take {value}",
                )


def _take(key: str, value: str) -> None:
    st.session_state[key] = value


def _weights(use_case: str, version: int) -> dict[str, float]:
    """The importance of each field; empty while there is none, then the form has the contract's order."""
    try:
        return _example_weights(use_case, version)
    except LabError:
        return {}


@st.cache_data(max_entries=50, show_spinner=False)
def _example_weights(use_case: str, version: int) -> dict[str, float]:
    return example_weights(ui_frame.inference(), ui_frame.contract(use_case, version))


def _slot(contract: Contract) -> str:
    return f"{contract.use_case} answer"


page()
