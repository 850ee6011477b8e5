"""A form made from a contract: one widget a feature, empty meaning unknown."""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import streamlit as st
from mlops_lab.contract import Boolean, Category, Contract, Date, Feature, FieldError, Integer, Number
from mlops_lab.formatting import bounds, yes_no

IN_BROWSER = 2000  # values of a category that the page sends; more are found by a look-up
FEW = 16  # up to so many fields are shown at once
FIRST = 12  # of more fields, so many stand before the fold
SAFE_INTEGER = 2**53 - 1  # the largest that a browser holds exactly


def form(contract: Contract, weights: dict[str, float], columns: int = 2) -> dict[str, Any]:
    """Widgets for a whole row, prefilled with the contract's example. Returns the row as JSON types.

    What differs from the example stands in the page's address and in the session too, so that neither a new
    champion, nor another page, nor a reload loses it.

    weights: how much each field matters; of many fields the weightiest stand first, the rest is folded away.
    """
    _prefill(contract)
    features = list(contract.features)
    rest: Sequence[Feature] = ()
    if len(features) > FEW:
        features.sort(key=lambda f: -abs(weights.get(f.name, 0.0)))
        features, rest = features[:FIRST], features[FIRST:]
    row = _grid(contract.use_case, features, columns)
    if rest:
        with st.expander(f"{len(rest)} more fields"):
            row |= _grid(contract.use_case, rest, columns)
    row = {f.name: row[f.name] for f in contract.features}
    _remember(contract, row)
    return row


def key_of(use_case: str, feature: Feature) -> str:
    """The widget's key, and its name in the page's address."""
    return f"{use_case}.{feature.name}"


def field(feature: Feature, key: str) -> Any:
    """One feature's widget, holding its value as a JSON type, or None for unknown."""
    common = {"key": key, "help": _help(feature), "required": feature.required}
    label = f"{feature.title} ({feature.unit})" if feature.unit else feature.title
    match feature:
        case Number():
            return st.number_input(label, value=None, placeholder="unknown", **_range(feature), **common)
        case Boolean():
            return st.selectbox(
                label, [True, False], index=None, format_func=yes_no, placeholder="unknown", **common
            )
        case Date():
            value = st.date_input(
                label,
                value=None,
                min_value=feature.minimum or date(1800, 1, 1),
                max_value=feature.maximum or date(2200, 12, 31),
                format="YYYY-MM-DD",
                **common,
            )
            return value.isoformat() if value else None
        case Category():
            return st.selectbox(
                label,
                feature.values[:IN_BROWSER],
                index=None,
                accept_new_options=_takes_any(feature),
                filter_mode="contains",
                placeholder="unknown",
                **common,
            )


def _grid(use_case: str, features: Sequence[Feature], columns: int) -> dict[str, Any]:
    row = {}
    for start in range(0, len(features), columns):
        for cell, feature in zip(st.columns(columns), features[start : start + columns], strict=False):
            with cell:
                row[feature.name] = field(feature, key_of(use_case, feature))
    return row


def _prefill(contract: Contract) -> None:
    """Gives each field without a value what the person left there, else its example; takes away what no longer fits.

    What was left is written down first: a run is cut short when the person goes to another page meanwhile.
    """
    keys = {f.name: key_of(contract.use_case, f) for f in contract.features}
    left = st.session_state.get(_draft(contract))
    if left is None:  # a fresh session: a reload, or an address that somebody sent
        left = {name: st.query_params[key] or None for name, key in keys.items() if key in st.query_params}
    left = left | {name: st.session_state[key] for name, key in keys.items() if key in st.session_state}
    st.session_state[_draft(contract)] = left
    for feature in contract.features:
        key, value = keys[feature.name], left.get(feature.name, feature.example)
        if key not in st.session_state or _fitting(feature, value) != value:
            st.session_state[key] = _fitting(feature, value)


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


def _takes_any(feature: Feature) -> bool:
    """Whether a person may type what is not offered; the service has the last word."""
    return isinstance(feature, Category) and (feature.allow_unknown or len(feature.values) > IN_BROWSER)


def _fitting(feature: Feature, value: Any) -> Any:
    """The value as the widget takes it, or None where it can't."""
    if _takes_any(feature):
        return value
    try:
        value = feature.read(value)
    except FieldError:
        return None
    return value if not isinstance(feature, Category) or value in feature.values else None


def _range(feature: Number) -> dict[str, Any]:
    """The browser's bounds, step and format of a number."""
    if isinstance(feature, Integer):
        low = -SAFE_INTEGER if feature.minimum is None else math.ceil(max(feature.minimum, -SAFE_INTEGER))
        high = SAFE_INTEGER if feature.maximum is None else math.floor(min(feature.maximum, SAFE_INTEGER))
        return {"min_value": low, "max_value": high, "step": 1, "format": "%d"}
    size = abs(float(feature.example)) if feature.example else 1.0
    return {
        "min_value": None if feature.minimum is None else float(feature.minimum),
        "max_value": None if feature.maximum is None else float(feature.maximum),
        "step": float(10 ** (math.floor(math.log10(size)) - 1)),
        "format": "%.10g",
    }


def _help(feature: Feature) -> str | None:
    parts = [feature.description, bounds(feature)]
    if isinstance(feature, Category) and feature.allow_unknown:
        parts.append("Any text; what the model never saw counts as rare.")
    parts.append("Must be given." if feature.required else "Empty means unknown.")
    return " ".join(part for part in parts if part)
