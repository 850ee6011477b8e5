"""A form made from a contract, as Gradio components: one for each feature. An empty field means unknown."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from mlops_lab.contract import Contract
from mlops_lab.features import Boolean, Category, Date, Feature, Number
from mlops_lab.form import GRADIO_OPTIONS, explanation_of, folded, folded_label, label, takes_any

COLUMNS = 2
# Pixels. A field gets a row of its own where two fields side by side would be narrower, as on a phone.
NARROW = 240
# The choice that means unknown, in every list of a field that isn't required.
UNKNOWN = ("unknown", "")


def form(
    contract: Contract, weights: Mapping[str, float], typed: Mapping[str, Any]
) -> list[gr.components.Component]:
    """Components for a whole row in the contract's order, filled with its example.

    weights: the importance of each field by name, as in `mlops_lab.form.folded`.
    typed:   the person's earlier values by field name; they replace the example.
    """
    leading, rest = folded(contract, weights)
    made = _grid(leading, typed)
    if rest:
        with gr.Accordion(folded_label(rest), open=False):
            made |= _grid(rest, typed)
    return [made[f.name] for f in contract.features]


def row(contract: Contract, values: Sequence[Any]) -> dict[str, Any]:
    """The values of the components as one row of JSON types; an empty field is null."""
    return {
        f.name: None if value is None or value == "" else value
        for f, value in zip(contract.features, values, strict=True)
    }


def _grid(features: Sequence[Feature], typed: Mapping[str, Any]) -> dict[str, Any]:
    made = {}
    for start in range(0, len(features), COLUMNS):
        with gr.Row(equal_height=True):
            for feature in features[start : start + COLUMNS]:
                made[feature.name] = _field(feature, typed.get(feature.name, feature.example))
    return made


def _field(feature: Feature, value: Any) -> gr.components.Component:
    common = {
        "label": label(feature),
        "info": explanation_of(feature) or None,
        "interactive": True,
        "min_width": NARROW,
    }
    unknown = [] if feature.required else [UNKNOWN]
    match feature:
        # The service checks the range: Gradio's own refusal doesn't name the field.
        case Number():
            number = value if isinstance(value, int | float) else None
            return gr.Number(number, placeholder="unknown", **common)
        case Boolean():
            return _choice(feature, [("Yes", True), ("No", False), *unknown], value, common)
        case Date():
            text = None if value is None else str(value)
            hint = "YYYY-MM-DD" if feature.required else "YYYY-MM-DD, or empty when unknown"
            return gr.Textbox(text, placeholder=hint, max_lines=1, **common)
        case Category():
            offered = [(feature.label(value), value) for value in feature.values[:GRADIO_OPTIONS]]
            return _choice(feature, unknown + offered, value, common)


def _choice(feature: Feature, choices: list[tuple[str, Any]], value: Any, common: dict) -> gr.Dropdown:
    free = takes_any(feature, GRADIO_OPTIONS)
    if value is None:
        value = UNKNOWN[1]
    # A value that was typed for an earlier champion may not be offered any more.
    if not free and value not in [choice for _, choice in choices]:
        value = feature.example
    return gr.Dropdown(choices, value=value, allow_custom_value=free, **common)
