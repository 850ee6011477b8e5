"""Raw rows become typed rows; those that break a rule go to quarantine with the rule they broke.

Every value passes `Feature.read` of the contract, the same function that the API uses, so that a row that the
pipeline accepts is a row that `POST /predict` accepts.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlops_lab.data.payload import RawBatch
from mlops_lab.features import Boolean, Category, Feature, FieldError, Integer, Number
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Problem:
    """One broken rule of one row."""

    row: int
    column: str
    rule: str
    message: str
    value: str


@dataclass(frozen=True)
class Validated:
    """typed: good rows, one column a declared raw column; index: the row's position in the payload."""

    typed: pd.DataFrame
    problems: list[Problem]

    @property
    def quarantined(self) -> int:
        """Distinct rows with at least one problem."""
        return len({problem.row for problem in self.problems})


def validate(batch: RawBatch, use_case: UseCase) -> Validated:
    """Types and checks every row; a row with any problem is left out of `typed`."""
    problems = [Problem(row, "(row)", "shape", text, _text(raw)) for row, text, raw in batch.misshapen]
    missing = frozenset(use_case.missing)
    columns = {}
    for feature in use_case.columns:
        values, faults = _read(feature, [row[feature.name] for row in batch.rows], missing)
        columns[feature.name] = pd.Series(values, index=batch.positions, dtype=_dtype(feature))
        problems += [
            Problem(batch.positions[place], feature.name, fault.rule, str(fault), _text(raw))
            for place, fault, raw in faults
        ]
    frame = pd.DataFrame(columns, index=pd.Index(batch.positions, name="row_index"))
    frame = frame.drop(index=list({problem.row for problem in problems} & set(batch.positions)))
    for name, rule in use_case.rules.items():
        broken = frame.index[~rule(frame).fillna(False).astype(bool)]
        problems += [Problem(int(row), "(row)", name, f"breaks the rule {name}", "") for row in broken]
        frame = frame.drop(index=broken)
    return Validated(frame, sorted(problems, key=lambda problem: problem.row))


def _read(feature: Feature, raw_values: list, missing: frozenset[str]) -> tuple[list, list]:
    """Each distinct raw value is read once; returns typed values and (place, fault, raw value)."""
    known: dict[tuple[type, Any], Any] = {}
    values, faults = [], []
    for place, raw in enumerate(raw_values):
        try:
            key = (type(raw), raw)
            if key not in known:
                try:
                    known[key] = feature.read(raw, missing)
                except FieldError as fault:
                    known[key] = fault
            value = known[key]
        except TypeError:  # a list or an object where a value should be
            value = FieldError("type", "must be a single value")
        if isinstance(value, FieldError):
            faults.append((place, value, raw))
            value = None
        values.append(value)
    return values, faults


def _dtype(feature: Feature) -> str:
    if isinstance(feature, Integer):
        return "Int64"
    if isinstance(feature, Number):
        return "float64"
    if isinstance(feature, Boolean):
        return "boolean"
    return "str" if isinstance(feature, Category) else "object"


def _text(raw: Any) -> str:
    return str(raw)[:200]
