"""A form made from a contract: one Gradio component a feature, empty meaning unknown."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from mlops_lab.contract import Boolean, Category, Contract, Date, Feature, Number
from mlops_lab.formatting import bounds

IN_BROWSER = 5000  # values of a category that the page sends, to be searched there; of more, any may be typed
FEW = 16  # up to so many fields are shown at once
FIRST = 12  # of more fields, so many stand before the fold
COLUMNS = 2
NARROW = 240  # pixels: a field has its own row where two would be narrower, as on a phone
UNKNOWN = ("unknown", "")  # a choice of every field that may be left out


def form(
    contract: Contract, weights: Mapping[str, float], typed: Mapping[str, Any]
) -> list[gr.components.Component]:
    """Components for a whole row in the contract's order, prefilled with its example.

    weights: how much each field matters; of many fields the weightiest stand first, the rest is folded away.
    typed:   what the person left in fields of these names, which goes before the example.
    """
    shown: Sequence[Feature] = contract.features
    folded: Sequence[Feature] = ()
    if len(contract.features) > FEW:
        ranked = sorted(contract.features, key=lambda f: -abs(weights.get(f.name, 0.0)))
        shown, folded = ranked[:FIRST], ranked[FIRST:]
    made = _grid(shown, typed)
    if folded:
        with gr.Accordion(f"{len(folded)} more fields", open=False):
            made |= _grid(folded, typed)
    return [made[f.name] for f in contract.features]


def row(contract: Contract, values: Sequence[Any]) -> dict[str, Any]:
    """What the components hold as one row of JSON types; an empty field is null."""
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
        "label": f"{feature.title} ({feature.unit})" if feature.unit else feature.title,
        "info": " ".join(part for part in (feature.description, bounds(feature)) if part) or None,
        "interactive": True,
        "min_width": NARROW,
    }
    unknown = [] if feature.required else [UNKNOWN]
    match feature:
        case Number():  # its range is the service's to check: Gradio's own refusal doesn't name the field
            number = value if isinstance(value, int | float) else None
            return gr.Number(number, placeholder="unknown", **common)
        case Boolean():
            return _choice(feature, [("Yes", True), ("No", False), *unknown], value, common)
        case Date():
            text = None if value is None else str(value)
            hint = "YYYY-MM-DD" if feature.required else "YYYY-MM-DD, or empty when unknown"
            return gr.Textbox(text, placeholder=hint, max_lines=1, **common)
        case Category():
            offered = [(value, value) for value in feature.values[:IN_BROWSER]]
            return _choice(feature, unknown + offered, value, common)


def _choice(feature: Feature, choices: list[tuple[str, Any]], value: Any, common: dict) -> gr.Dropdown:
    free = isinstance(feature, Category) and (feature.allow_unknown or len(feature.values) > IN_BROWSER)
    if value is None:
        value = UNKNOWN[1]
    if not free and value not in [choice for _, choice in choices]:  # typed for an earlier champion
        value = feature.example
    return gr.Dropdown(choices, value=value, allow_custom_value=free, **common)
