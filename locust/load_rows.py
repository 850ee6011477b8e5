"""Valid rows for `/predict`, made from a model's contract: the contract's example with some fields changed."""

import math
from random import Random
from typing import Any

from mlops_lab.contract import Contract
from mlops_lab.features import Boolean, Category, Feature, FieldError, Integer, Number

# The probability that a field is changed.
CHANGED = 0.3
# A category's new value is one of its 50 most frequent values.
FREQUENT = 50


def rows(contract: Contract, n: int, random: Random) -> list[dict[str, Any]]:
    """n rows of JSON types that the contract accepts."""
    return [_row(contract, random) for _ in range(n)]


def _row(contract: Contract, random: Random) -> dict[str, Any]:
    row = contract.example
    for feature in contract.features:
        if random.random() < CHANGED:
            value = _another(feature, random)
            try:
                feature.read(value)
            except FieldError:
                continue
            row[feature.name] = value
    return row


def _another(feature: Feature, random: Random) -> Any:
    """A value near the example, or sometimes null when the field isn't required."""
    if not feature.required and random.random() < 0.1:
        return None
    match feature:
        case Integer():
            return round((feature.example or 1) * random.uniform(0.5, 1.5))
        case Number():
            value = (feature.example or 1.0) * math.exp(random.gauss(0, 0.3))
            return float(f"{value:.6g}")
        case Boolean():
            return random.random() < 0.5
        case Category() if feature.values:
            return random.choice(feature.values[:FREQUENT])
    return feature.example
