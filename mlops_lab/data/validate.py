"""Raw rows become typed rows; those that break a rule go to quarantine with the rule they broke.

Every value passes `Feature.read` of the contract, the same function that the API uses, so that a row that the
pipeline accepts is a row that `POST /predict` accepts.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlops_lab.data.payload import RawBatch, as_json, encodable
from mlops_lab.errors import LabError
from mlops_lab.features import Boolean, Category, Feature, FieldError, Integer, Number
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Problem:
    """One broken rule of one row."""

    row: int
    column: str
    rule: str
    message: str
    value: str


@dataclass
class Broken:
    """A rule of a column, how many rows break it, and what is wrong with the first one."""

    column: str
    rule: str
    message: str
    rows: int = 0


@dataclass(frozen=True)
class Validated:
    """typed: good rows, one column a declared raw column; index: the row's position in the payload."""

    typed: "pd.DataFrame"
    problems: list[Problem]


def validate(batch: RawBatch, use_case: UseCase) -> Validated:
    """Types and checks every row; a row with any problem is left out of `typed`."""
    import pandas as pd

    problems = [Problem(row, "(row)", "shape", text, _text(raw)) for row, text, raw in batch.misshapen]
    missing = frozenset(use_case.missing)
    columns = {}
    for feature in use_case.columns:
        values, faults = _read(feature, [row[feature.name] for row in batch.rows], missing)
        columns[feature.name] = pd.Series(values, index=batch.positions, dtype=dtype(feature))
        problems += [
            Problem(batch.positions[index], feature.name, fault.rule, str(fault), _text(raw))
            for index, fault, raw in faults
        ]
    frame = pd.DataFrame(columns, index=pd.Index(batch.positions, name="row_index"))
    frame = frame.drop(index=list({problem.row for problem in problems} & set(batch.positions)))
    for name, rule in use_case.rules.items():
        broken = frame.index[~rule(frame).fillna(False).astype(bool)]
        problems += [Problem(int(row), "(row)", name, f"breaks the rule {name}", "") for row in broken]
        frame = frame.drop(index=broken)
    return Validated(frame, sorted(problems, key=lambda problem: problem.row))


def read_texts(use_case: UseCase, texts: "pd.DataFrame") -> "pd.DataFrame":
    """Rows as RawData stores them (texts by `as_text`, null as None), typed exactly as `validate` typed them.

    Raises `LabError` when a row no longer fits, since the use case was changed after it was stored.
    """
    import pandas as pd

    missing = frozenset(use_case.missing)
    columns = {}
    for feature in use_case.columns:
        values, faults = _read(feature, texts[feature.name].tolist(), missing)
        if faults:
            index, fault, _ = faults[0]
            raise LabError(
                f"row {texts.index[index]} of RawData no longer fits {use_case.name}: {feature.name} {fault}; "
                "the next run of the loop validates the batch again"
            )
        columns[feature.name] = pd.Series(values, index=texts.index, dtype=dtype(feature))
    return pd.DataFrame(columns, index=texts.index)


def by_rule(problems: Iterable[Problem], known: Iterable[Broken] = ()) -> list[Broken]:
    """The problems by column and rule, the most frequent first. known: those that were counted before."""
    found = {(one.column, one.rule): one for one in known}
    for problem in problems:
        key = problem.column, problem.rule
        found.setdefault(key, Broken(problem.column, problem.rule, problem.message)).rows += 1
    return sorted(found.values(), key=lambda one: -one.rows)


def records(problems: list[Problem], limit: int) -> list[dict[str, Any]]:
    """The first problems as plain records, for the quarantine table of a batch's run."""
    return [asdict(problem) for problem in problems[:limit]]


def _read(
    feature: Feature, raw_values: list[Any], missing: frozenset[str]
) -> tuple[list[Any], list[tuple[int, FieldError, Any]]]:
    """Each distinct raw value is read once; returns typed values and (index, fault, raw value)."""
    kinds = set(map(type, raw_values)) - {type(None)}
    if len(kinds) > 1 or not kinds <= {str, int, float, bool}:
        return _read_mixed(feature, raw_values, missing)
    # Of one type, equal values are the same value: 1 and true are not, nor is a list a key.
    known = {raw: _value(feature, raw, missing) for raw in set(raw_values)}
    values = [known[raw] for raw in raw_values]
    if not any(isinstance(value, FieldError) for value in known.values()):
        return values, []
    faults = [
        (index, value, raw_values[index])
        for index, value in enumerate(values)
        if isinstance(value, FieldError)
    ]
    return [None if isinstance(value, FieldError) else value for value in values], faults


def _read_mixed(
    feature: Feature, raw_values: list[Any], missing: frozenset[str]
) -> tuple[list[Any], list[tuple[int, FieldError, Any]]]:
    known: dict[tuple[type, Any], Any] = {}
    values: list[Any] = []
    faults: list[tuple[int, FieldError, Any]] = []
    for index, raw in enumerate(raw_values):
        try:
            key = (type(raw), raw)
            if key not in known:
                known[key] = _value(feature, raw, missing)
            value = known[key]
        except TypeError:
            # A list or an object can't be a key of `known`.
            value = FieldError("type", "must be a single value")
        if isinstance(value, FieldError):
            faults.append((index, value, raw))
            value = None
        values.append(value)
    return values, faults


def _value(feature: Feature, raw: Any, missing: frozenset[str]) -> Any:
    """The value as the feature reads it, or the error."""
    try:
        return feature.read(raw, missing)
    except FieldError as fault:
        return fault


def dtype(feature: Feature) -> str:
    """The type of a column of typed values in a frame."""
    if isinstance(feature, Integer):
        return "Int64"
    if isinstance(feature, Number):
        return "float64"
    if isinstance(feature, Boolean):
        return "boolean"
    return "str" if isinstance(feature, Category) else "object"


def _text(raw: Any) -> str:
    return encodable(raw if isinstance(raw, str) else as_json(raw))[:200]
