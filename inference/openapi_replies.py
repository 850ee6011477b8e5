"""The schemas of the replies of `/predict` and `/explain`, built from a champion's contract."""

from typing import Any

from mlops_lab.contract import Contract
from mlops_lab.features import Boolean, Category

REF = "#/components/schemas/"
_PROBABILITY = {"type": "number", "minimum": 0, "maximum": 1}
_THRESHOLD = {**_PROBABILITY, "description": "true from this probability on"}
_LIMITS: dict[str, Any] = {
    "type": "array",
    "description": "lower and upper limit, in the target's unit",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
}
_LEVEL = {
    "type": ["number", "null"],
    "description": "the share of true values inside; null when the model has no intervals",
}
_CURVE = {
    "type": "object",
    "description": "when it is asked for: the prediction, or the probability of the class, at each value of a field",
    "required": ["feature", "values", "predictions", "current"],
    "properties": {
        "feature": {"type": "string"},
        "values": {"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}},
        "predictions": {"type": "array", "items": {"type": "number"}},
        "current": {"type": ["integer", "null"], "description": "the index of the row's own value"},
    },
}


def predictions(contract: Contract) -> dict[str, Any]:
    """The reply of `/predict`."""
    properties: dict[str, Any] = {
        "predictions": {"type": "array", "items": _target(contract)},
        "model": {"$ref": f"{REF}Model"},
        "prediction_ids": {"type": "array", "items": {"type": "string"}},
        "processing_ms": {"type": "number", "description": "from the headers read to the reply made"},
    }
    if contract.classes:
        by_class = {"type": "object", "properties": dict.fromkeys(contract.classes, _PROBABILITY)}
        properties["probabilities"] = {"type": "array", "items": by_class}
    if contract.task == "binary":
        properties["threshold"] = _THRESHOLD
    required = list(properties)
    limits = {"type": ["array", "null"], "items": _LIMITS, "description": "one for each row"}
    properties |= {"intervals": limits, "interval_level": _LEVEL}
    return {"type": "object", "required": required, "properties": properties}


def explanation(contract: Contract) -> dict[str, Any]:
    """The reply of `/explain`."""
    values = {f.name: {"type": "number", "title": f.title} for f in contract.features}
    properties: dict[str, Any] = {
        "prediction": _target(contract),
        "base_value": {"type": "number", "description": "mean prediction of the background rows"},
        "values": {"type": "object", "properties": values},
        "unit": {"type": ["string", "null"]},
        "interval": _LIMITS | {"type": ["array", "null"]},
        "interval_level": _LEVEL,
        "model": {"$ref": f"{REF}Model"},
    }
    if contract.classes:
        by_class = {"type": "object", "properties": dict.fromkeys(contract.classes, _PROBABILITY)}
        named = {"type": "string", "enum": contract.classes}
        properties |= {"class": named, "probability": _PROBABILITY, "probabilities": by_class}
    if contract.task == "binary":
        properties["threshold"] = _THRESHOLD
    properties["curve"] = _CURVE
    about = "base_value and values add up to the prediction, or to the probability of the class"
    return {"type": "object", "description": about, "properties": properties}


def _target(contract: Contract) -> dict[str, Any]:
    target = contract.target
    if contract.task == "multiclass":
        kind: dict[str, Any] = {"type": "string", "enum": contract.classes}
    else:
        kind = {"type": "boolean" if isinstance(target, Boolean) else "number"}
    kind["title"] = target.title
    if isinstance(target, Category) and (named := target.about_labels()):
        kind["description"] = named
    return kind | ({"x-unit": target.unit, "description": f"Unit: {target.unit}."} if target.unit else {})
