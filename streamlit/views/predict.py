"""Predict: the form made from the champion's contract, the prediction, what moved it, and the true value."""

import altair as alt
import pandas as pd
import ui_form
import ui_frame

import streamlit as st
from mlops_lab.client import Explanation, Predictions
from mlops_lab.contract import Category, Contract
from mlops_lab.errors import ContractError, LabError
from mlops_lab.formatting import number, show

TOP = 10  # fields in the chart of what moved a prediction; the rest is one bar
UP, DOWN = "#3b7dc4", "#d9783a"


@st.fragment
def page() -> None:
    st.title("Predict")
    if not (use_case := ui_frame.chosen()):
        return
    with ui_frame.friendly():
        served = ui_frame.served(use_case)
        contract = ui_frame.contract(use_case, served.version)
        if contract.description:
            st.caption(contract.description)
        left, right = st.columns([3, 2], gap="large")
        with left, st.container(border=True):
            row = ui_form.form(contract, _weights(use_case, served.version))
            asked = st.button("Predict", type="primary", width="stretch")
            _look_up(contract)
        with right:
            if asked:
                _ask(contract, row)
            _answer(contract, row)


def _ask(contract: Contract, row: dict) -> None:
    """Predicts the row and keeps the answer; a refusal is shown and the earlier answer goes."""
    st.session_state.pop(_slot(contract), None)
    try:
        reply = ui_frame.inference().predict(contract.use_case, [row])
    except ContractError as error:
        titles = {f.name: f.title for f in contract.features}
        st.error(
            "\n".join(
                ["**The model refuses this row:**", ""]
                + [f"- {titles.get(p['field'], p['field'])} {p['message']}" for p in error.problems]
            )
        )
        return
    except LabError as error:
        ui_frame.say_fault(error)
        return
    try:
        with st.spinner("Finding what moved it"):
            explanation = ui_frame.inference().explain(contract.use_case, row)
    except LabError as error:
        explanation = str(error)
    st.session_state[_slot(contract)] = (row, reply, explanation)


def _answer(contract: Contract, row: dict) -> None:
    if _slot(contract) not in st.session_state:
        st.caption(
            "Fill in what is known and press Predict. It starts as an example; an empty field means unknown."
        )
        return
    asked, reply, explanation = st.session_state[_slot(contract)]
    _prediction(contract, reply)
    if asked != row:
        st.caption("The form has changed since this prediction.")
    _strangers(contract, asked)
    if isinstance(explanation, Explanation):
        _moved(contract, asked, explanation)
    else:
        st.caption(f"What moved it is not known: {explanation}")
    _feedback(contract, reply)


def _prediction(contract: Contract, reply: Predictions) -> None:
    target, value = contract.target, reply.predictions[0]
    label = f"{target.title} ({target.unit})" if target.unit else target.title
    st.metric(label, show(target, value), border=True)
    if target.description:  # what the classes of a number mean
        st.caption(target.description)
    if reply.probabilities:
        shares = reply.probabilities[0]
        if contract.task == "binary":
            threshold = reply.threshold if reply.threshold is not None else contract.threshold
            st.progress(
                min(max(shares["true"], 0.0), 1.0),
                f"Probability {shares['true']:.1%}"
                + (f"; yes from {threshold:.1%} on" if threshold is not None else ""),
            )
        else:
            frame = pd.DataFrame({"class": list(shares), "probability": list(shares.values())})
            bars = (
                alt.Chart(frame)
                .mark_bar(color=UP)
                .encode(
                    x=alt.X(
                        "probability:Q",
                        axis=alt.Axis(format="%", values=[0, 0.5, 1]),
                        title=None,
                        scale=alt.Scale(domain=[0, 1]),
                    ),
                    y=alt.Y("class:N", sort="-x", title=None, axis=alt.Axis(labelLimit=220)),
                    tooltip=["class", alt.Tooltip("probability:Q", format=".2%")],
                )
            )
            st.altair_chart(bars.properties(height=alt.Step(22)))
    st.caption(
        f"By version {reply.model.version} of {reply.model.name}. Prediction `{reply.prediction_ids[0]}`"
    )


def _strangers(contract: Contract, row: dict) -> None:
    """Names the values that the model never saw, with those that it knows and that look alike."""
    for feature in contract.features:
        value = row[feature.name]
        if isinstance(feature, Category) and not feature.knows(value if value is None else str(value)):
            text = f"{feature.title} “{value}” is rare or new to the model."
            try:
                alike = ui_frame.inference().values(contract.use_case, feature.name, str(value)[:3])
            except LabError:
                alike = []
            st.caption(text + (f" It knows {', '.join(alike[:5])}." if alike else ""))


def _moved(contract: Contract, row: dict, explanation: Explanation) -> None:
    st.markdown("#### What moved it")
    if contract.task == "regression":
        unit, scale = contract.target.unit or "", "~s"
        title = f"{contract.target.title} ({unit})" if unit else contract.target.title
    else:
        unit, scale = "", "+.1%"
        title = f"Probability of {show(contract.target, explanation.class_ or 'true').lower()}"

    def amount(value: float) -> str:
        return f"{value:.1%}" if contract.task != "regression" else f"{number(value)} {unit}".strip()

    features = {f.name: f for f in contract.features}
    ranked = sorted(explanation.values.items(), key=lambda pair: -abs(pair[1]))
    bars = [
        {"field": f"{features[name].title} = {show(features[name], row[name])}", "moved": value}
        for name, value in ranked[:TOP]
    ]
    if rest := ranked[TOP:]:
        bars.append({"field": f"{len(rest)} other fields", "moved": sum(value for _, value in rest)})
    frame = pd.DataFrame(bars)
    frame["by"] = frame["moved"].map(amount)
    frame["way"] = frame["moved"].map(lambda value: "up" if value >= 0 else "down")
    chart = (
        alt.Chart(frame)
        .mark_bar()
        .encode(
            x=alt.X("moved:Q", title=title, axis=alt.Axis(format=scale, tickCount=4)),
            y=alt.Y("field:N", sort=None, title=None, axis=alt.Axis(labelLimit=190)),
            color=alt.Color("way:N", scale=alt.Scale(domain=["up", "down"], range=[UP, DOWN]), legend=None),
            tooltip=[alt.Tooltip("field", title="Field"), alt.Tooltip("by", title="Moved by")],
        )
    )
    st.altair_chart(chart.properties(height=alt.Step(24)))
    st.caption(
        f"Typical rows get {amount(explanation.base_value)} on average; all bars together lead from there to "
        f"{amount(explanation.explained)}."
    )


def _feedback(contract: Contract, reply: Predictions) -> None:
    prediction = reply.prediction_ids[0]
    with st.expander("The true value is known"), st.form(f"feedback {prediction}", border=False):
        actual = ui_form.field(contract.target, f"actual {prediction}")
        if st.form_submit_button("Send"):
            if actual is None:
                st.warning(f"Fill in the {contract.target.title.lower()} first.")
                return
            with ui_frame.friendly():
                ui_frame.inference().feedback(contract.use_case, prediction, actual)
                st.success("Thank you: it is kept with this prediction.")
        st.caption(
            "It measures the model. To teach it as well, send it to `POST /feedback` with its group key."
        )


def _look_up(contract: Contract) -> None:
    """Finds values of categories that have too many to show at once."""
    large = [f for f in contract.features if isinstance(f, Category) and len(f.values) > ui_form.IN_BROWSER]
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
                    value,
                    on_click=_take,
                    args=(ui_form.key_of(contract.use_case, feature), value),
                    key=f"take {value}",
                )


def _take(key: str, value: str) -> None:
    st.session_state[key] = value


def _weights(use_case: str, version: int) -> dict[str, float]:
    try:
        return _example_moved(use_case, version)
    except LabError:
        return {}


@st.cache_data(max_entries=50, show_spinner=False)
def _example_moved(use_case: str, version: int) -> dict[str, float]:
    """What moves the contract's example: the order of a long form."""
    contract = ui_frame.contract(use_case, version)
    if len(contract.features) <= ui_form.FEW:
        return {}
    return ui_frame.inference().explain(use_case, contract.example).values


def _slot(contract: Contract) -> str:
    return f"{contract.use_case} answer"


page()
