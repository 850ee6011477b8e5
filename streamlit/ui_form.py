"""A form made from a contract, as Streamlit widgets: one for each feature. An empty field means unknown."""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import streamlit as st
from mlops_lab.contract import Contract
from mlops_lab.features import Boolean, Category, Date, Feature, FieldError, Integer, Number
from mlops_lab.form import STREAMLIT_OPTIONS, folded, folded_label, label, placeholder, takes_any
from mlops_lab.formatting import literal, yes_no

# The largest integer that a browser holds exactly.
SAFE_INTEGER = 2**53 - 1
FIRST_DAY, LAST_DAY = date(1800, 1, 1), date(2200, 12, 31)


def row(contract: Contract) -> dict[str, Any]:
    """The form's row as JSON types, also before the form is drawn: at first the contract's example.

    Values that differ from the example are kept in the page's address and in the session. So a new champion, another
    page or a reload doesn't lose them.
    """
    _prefill(contract)
    found = {f.name: _as_json(f, st.session_state[key_of(contract.use_case, f)]) for f in contract.features}
    _remember(contract, found)
    return found


def drawn(contract: Contract) -> bool:
    """Whether the browser has the whole form with the values of its fields."""
    return st.session_state.get(_complete(contract), False)


def form(contract: Contract, weights: Mapping[str, float], columns: int = 2) -> None:
    """Draws a widget for each field of `row`, which comes first.

    weights: the importance of each field by name, as in `mlops_lab.form.folded`.
    """
    leading, rest = folded(contract, weights)
    _grid(contract.use_case, leading, columns)
    if rest:
        with st.expander(folded_label(rest)):
            _grid(contract.use_case, rest, columns)
    st.session_state[_complete(contract)] = True


def key_of(use_case: str, feature: Feature) -> str:
    """The widget's key, and its name in the page's address."""
    return f"{use_case}.{feature.name}"


def field(feature: Feature, key: str) -> Any:
    """One feature's widget, holding its value as a JSON type, or None for unknown.

    No widget has the feature's bounds. It would keep the last valid value without a word; the service names the rule.
    """
    common = {
        "key": key,
        "help": literal(feature.description) if feature.description else None,
        "required": feature.required,
    }
    name, empty = literal(label(feature)), {"placeholder": placeholder(feature)}
    match feature:
        case Number():
            return st.number_input(name, value=None, **_step(feature), **empty, **common)
        case Boolean():
            return st.selectbox(name, [True, False], index=None, format_func=yes_no, **empty, **common)
        case Date():
            first, last = _days(feature)
            return _as_json(
                feature,
                st.date_input(
                    name, value=None, min_value=first, max_value=last, format="YYYY-MM-DD", **common
                ),
            )
        case Category():
            return st.selectbox(
                name,
                feature.values[:STREAMLIT_OPTIONS],
                index=None,
                format_func=feature.label,
                accept_new_options=takes_any(feature, STREAMLIT_OPTIONS),
                filter_mode="contains",
                **empty,
                **common,
            )


def reset(contract: Contract) -> None:
    """Fills the form with the contract's example again."""
    for feature in contract.features:
        st.session_state[key_of(contract.use_case, feature)] = _fitting(feature, feature.example)
    st.session_state[_draft(contract)] = contract.example


def _grid(use_case: str, features: Sequence[Feature], columns: int) -> None:
    for start in range(0, len(features), columns):
        for cell, feature in zip(st.columns(columns), features[start : start + columns], strict=False):
            with cell:
                field(feature, key_of(use_case, feature))


def _prefill(contract: Contract) -> None:
    """Gives each field without a value the person's earlier value, or its example. Removes values that no longer fit.

    The earlier values are stored first, because Streamlit stops a run when the person goes to another page.
    """
    keys = {f.name: key_of(contract.use_case, f) for f in contract.features}
    draft = st.session_state.get(_draft(contract))
    # A new session begins after a reload, or when the page's address is opened elsewhere.
    if draft is None:
        draft = {name: st.query_params[key] or None for name, key in keys.items() if key in st.query_params}
    entered = {name: st.session_state[key] for name, key in keys.items() if key in st.session_state}
    draft = {f.name: f.example for f in contract.features} | draft
    lost = _lost(draft, entered)
    draft |= {name: value for name, value in entered.items() if name not in lost}
    st.session_state[_draft(contract)] = draft
    # A value that is assigned is sent to the browser. Streamlit discards what an interrupted run had still to send.
    interrupted = not st.session_state.get(_complete(contract), True)
    for feature in contract.features:
        key = keys[feature.name]
        value = _fitting(feature, draft[feature.name])
        if interrupted or key not in st.session_state or st.session_state[key] != value:
            st.session_state[_complete(contract)] = False
            st.session_state[key] = value


def _lost(draft: Mapping[str, Any], entered: Mapping[str, Any]) -> set[str]:
    """The fields that became empty in the browser and not by the person, who empties one at a time.

    A field without its value is drawn empty, when the run that assigned the value was replaced before it was sent.
    """
    emptied = {name for name, value in entered.items() if value is None and draft[name] is not None}
    return emptied if len(emptied) > 1 else set()


def _remember(contract: Contract, row: dict[str, Any]) -> None:
    st.session_state[_draft(contract)] = row
    for feature in contract.features:
        key, value = key_of(contract.use_case, feature), row[feature.name]
        if value == feature.example:
            st.query_params.pop(key, None)
        elif st.query_params.get(key) != (text := "" if value is None else str(value)):
            st.query_params[key] = text


def _draft(contract: Contract) -> str:
    return f"{contract.use_case} draft"


def _complete(contract: Contract) -> str:
    """The session's key of: every value that was assigned has reached the browser."""
    return f"{contract.use_case} complete"


def _as_json(feature: Feature, value: Any) -> Any:
    """A widget's value as it is sent."""
    match feature, value:
        case Date(), date():
            return value.isoformat()
        # The example may be a whole number where the widget gives fractions.
        case Number(), int() if not isinstance(feature, Integer):
            return float(value)
    return value


def _fitting(feature: Feature, value: Any) -> Any:
    """The value as the widget accepts it; None when the widget would refuse it. The service checks the bounds."""
    if takes_any(feature, STREAMLIT_OPTIONS):
        return value
    try:
        value = feature.model_copy(update={"required": False, **_UNBOUND.get(feature.type, {})}).read(value)
    except FieldError:
        return None
    match feature, value:
        case Integer(), int() if abs(value) > SAFE_INTEGER:
            return None
        case Date(), date():
            first, last = _days(feature)
            return value if first <= value <= last else None
        case Category(), str():
            return value if value in feature.values else None
    return value


# The bounds of each kind of feature that has some, taken away.
_UNBOUND = {kind: {"minimum": None, "maximum": None} for kind in ("number", "integer", "date")}


def _step(feature: Number) -> dict[str, Any]:
    """The step and the format of a number: a tenth of the example's power of ten, whole where the example is."""
    if isinstance(feature, Integer):
        return {"step": 1, "format": "%d"}
    size = abs(float(feature.example)) if feature.example else 1.0
    step = float(10 ** (math.floor(math.log10(size)) - 1))
    whole = feature.example and size >= 1 and size.is_integer()
    return {"step": max(step, 1.0) if whole else step, "format": "%.10g"}


def _days(feature: Date) -> tuple[date, date]:
    """The first and the last day that the calendar offers; by itself it ends ten years from today."""
    return (
        min(feature.minimum or FIRST_DAY, FIRST_DAY),
        max(feature.maximum or LAST_DAY, LAST_DAY),
    )
