"""The contract that a model carries: features, target, encoding and evidence, read alike by every side of the lab.

Pure pydantic and numpy. A use case declares features; training completes them into a `Contract`
(category codes, examples, reference histograms, metrics, lineage) that is stored beside the ONNX graph.
The pipeline, the API, the form and the load test all parse and check a value with the same `Feature.read`,
and `Contract.encode` is the only way from rows to the model's input.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mlops_lab.errors import ContractError
from mlops_lab.metrics import Task

CONTRACT_FILE = "contract.json"
MODEL_FILE = "model.onnx"
SCHEMA_VALUES = 50  # how many values of a category stand in the schema; the rest is looked up
TEXT_LIMIT = 255  # the longest category value, in characters; also the column's width in the databases

FLOAT32_MAX = 3.4028234e38  # the model's input is float32: beyond, a number would become infinite
ROWS_TO_REMEMBER = 100  # from so many rows on, a column's distinct values are encoded once each: far faster
MISSING, RARE, FIRST = 0, 1, 2  # category codes: missing; rare or unknown; the most frequent value


class FieldError(ValueError):
    """One value breaks its feature's rule. `rule` is a short name, the text says what is wrong."""

    def __init__(self, rule: str, message: str):
        self.rule = rule
        super().__init__(message)


class _Feature(BaseModel):
    """What every kind of feature has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = ""
    description: str = ""
    unit: str | None = None
    required: bool = Field(False, description="null is refused; without it null means unknown")
    example: Any = None

    def __init__(self, name: str, title: str = "", **values):
        super().__init__(name=name, title=title or name.replace("_", " ").capitalize(), **values)

    def read(self, raw: Any, missing: frozenset[str] = frozenset()) -> Any:
        """A raw value (text, number, null) as this feature's own type, checked.

        `missing`: texts that mean null, besides the empty one. Raises `FieldError`.
        """
        raw = raw.strip() if isinstance(raw, str) else raw
        nothing = raw is None or raw == "" or raw in missing if isinstance(raw, str | None) else raw != raw
        value = None if nothing else self._parse(raw)
        if value is None:
            if self.required:
                raise FieldError("missing", "must not be null")
            return None
        self._check(value)
        return value

    def encode(self, value: Any) -> float:
        """A value of this feature's own type as the number that the model sees."""
        return math.nan if value is None else float(value)

    def json_schema(self) -> dict:
        """The feature as a JSON schema property, for OpenAPI."""
        schema = {"title": self.title, **self._json_type()}
        if not self.required:
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        about = " ".join(
            part for part in (self.description, f"Unit: {self.unit}." if self.unit else "") if part
        )
        if about:
            schema["description"] = about
        if self.unit:
            schema["x-unit"] = self.unit
        if self.example is not None:
            schema["examples"] = [self.example]
        return schema

    def _parse(self, raw: Any) -> Any:
        raise NotImplementedError

    def _check(self, value: Any) -> None:
        """Raises `FieldError` when the value is out of bounds."""

    def _json_type(self) -> dict:
        raise NotImplementedError


class Number(_Feature):
    """A real number. Bounds are inclusive, in the feature's unit."""

    type: Literal["number"] = "number"
    minimum: float | None = None
    maximum: float | None = None

    def _parse(self, raw):
        if isinstance(raw, bool) or not isinstance(raw, int | float | str | np.number):
            raise FieldError("type", "must be a number")
        try:
            value = float(raw)
        except ValueError:
            raise FieldError("type", f"must be a number, not {_short(raw)}") from None
        except OverflowError:
            value = math.inf
        if not abs(value) <= FLOAT32_MAX:
            raise FieldError("type", "must be a finite number within the range of a 32-bit float")
        return value

    def _check(self, value):
        if self.minimum is not None and value < self.minimum:
            raise FieldError("minimum", f"must be at least {self.minimum:g}, not {value:g}")
        if self.maximum is not None and value > self.maximum:
            raise FieldError("maximum", f"must be at most {self.maximum:g}, not {value:g}")

    def _json_type(self):
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": "number"} | {key: bound for key, bound in bounds.items() if bound is not None}


class Integer(Number):
    """A whole number; `4.0` and `"4.0"` are 4."""

    type: Literal["integer"] = "integer"

    def _parse(self, raw):
        value = super()._parse(raw)
        if value != int(value):
            raise FieldError("type", f"must be a whole number, not {value:g}")
        return int(value)

    def _json_type(self):
        return super()._json_type() | {"type": "integer"}


class Boolean(_Feature):
    """True or false; the model sees 1 or 0."""

    type: Literal["boolean"] = "boolean"
    _WORDS: ClassVar[dict] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

    def _parse(self, raw):
        word = str(int(raw)) if isinstance(raw, float) and raw in (0.0, 1.0) else str(raw).lower()
        if word not in self._WORDS:
            raise FieldError("type", f"must be true or false, not {_short(raw)}")
        return self._WORDS[word]

    def _json_type(self):
        return {"type": "boolean"}


class Date(_Feature):
    """A calendar day, `YYYY-MM-DD`; the model sees days since 1970-01-01."""

    type: Literal["date"] = "date"
    minimum: date | None = None
    maximum: date | None = None
    _EPOCH: ClassVar[int] = date(1970, 1, 1).toordinal()

    def _parse(self, raw):
        if isinstance(raw, datetime):
            return raw.date()
        if isinstance(raw, date):
            return raw
        try:
            return date.fromisoformat(str(raw)[:10])
        except ValueError:
            raise FieldError("type", f"must be a date like 2024-01-31, not {_short(raw)}") from None

    def _check(self, value):
        if self.minimum is not None and value < self.minimum:
            raise FieldError("minimum", f"must not be before {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise FieldError("maximum", f"must not be after {self.maximum}")

    def encode(self, value):
        return math.nan if value is None else float(value.toordinal() - self._EPOCH)

    def _json_type(self):
        return {"type": "string", "format": "date"}


class Category(_Feature):
    """A value out of a set of texts; a number stands for its text (`601.0` is "601").

    open:    an unknown value is accepted (code 1, and counted); closed: it is refused, naming what is allowed.
    allowed: the closed set; left empty, the values of the training data.
    width:   identifiers of a fixed number of digits are padded with zeros (`601` is "00601" with width 5).
    groups:  a stored many-to-one map, applied before coding; a value is looked up whole, then without what
             follows its point (a diagnosis code and its chapter). A value in no group counts as unknown.
    at_least, at_most: a value has its own code when at least so many training rows have it, and at most so
             many values do.
    codes:   filled by training: the values that have a code, the most frequent first.
    """

    type: Literal["category"] = "category"
    open: bool = False
    allowed: list[str] = []
    width: int | None = None
    groups: dict[str, str] = {}
    at_least: int = 20
    at_most: int = 1000
    codes: list[str] = []

    _WHOLE: ClassVar[re.Pattern] = re.compile(r"-?\d+\.0+")

    def _parse(self, raw):
        if isinstance(raw, bool) or not isinstance(raw, int | float | str | np.number):
            raise FieldError("type", "must be a text")
        text = raw if isinstance(raw, str) else f"{raw:.15g}" if isinstance(raw, float) else str(raw)
        if self._WHOLE.fullmatch(text):
            text = text.partition(".")[0]
        if len(text) > TEXT_LIMIT:
            raise FieldError("length", f"must be at most {TEXT_LIMIT} characters")
        return text.zfill(self.width) if self.width and text.isdigit() else text

    def _check(self, value):
        if not self.open and self._allowed and value not in self._allowed:
            names = ", ".join(self.values[:SCHEMA_VALUES])
            raise FieldError("category", f"must be one of {names}; not {_short(value)}")

    def group(self, value: str) -> str:
        """What a value counts as: itself, or its group; a value in no group is returned as "" (unknown)."""
        if not self.groups:
            return value
        return self.groups.get(value) or self.groups.get(value.partition(".")[0], "")

    def encode(self, value):
        if value is None:
            return float(MISSING)
        return float(self._code.get(self.group(value) if self.groups else value, RARE))

    def knows(self, value: str | None) -> bool:
        """Whether the model has a code of its own for this value."""
        return value is None or self.group(value) in self._code

    @property
    def values(self) -> list[str]:
        """The values to offer a person, the most frequent first."""
        if self.groups:
            return sorted(self.groups)
        return self.codes + [value for value in self.allowed if value not in self._code]

    @cached_property
    def _code(self) -> dict[str, int]:
        return {value: FIRST + place for place, value in enumerate(self.codes)}

    @cached_property
    def _allowed(self) -> frozenset[str]:
        return frozenset(self.allowed)

    def _json_type(self):
        values = self.values
        if not self.open and 0 < len(values) <= SCHEMA_VALUES:
            return {"type": "string", "enum": values}
        return {"type": "string", "maxLength": TEXT_LIMIT, "x-values": values[:SCHEMA_VALUES]}


Feature = Annotated[Number | Integer | Boolean | Date | Category, Field(discriminator="type")]


class Reference(BaseModel):
    """How one encoded feature was distributed in the training rows.

    edges:  inner bin edges, ascending, k numbers; bin i holds edges[i-1] < x <= edges[i].
    shares: k + 2 shares that sum to 1: the k + 1 bins, then missing (NaN).
    """

    edges: list[float]
    shares: list[float]


class Lineage(BaseModel):
    """Where a model comes from: enough to walk from a prediction back to the stored payloads."""

    run_id: str
    candidate: str
    batches: list[int] = Field(description="ids in the batch ledger of RawData")
    rows: dict[str, int] = Field(description="rows a split: train, validation, test")
    created_at: datetime
    commit: str | None = None


class RetrainPolicy(BaseModel):
    """When a batch leads to a training: any one of the bounds is enough.

    new_share:      fraction of the batch's distinct group keys that are new to the champion.
    min_new_rows:   clean rows since the champion's training data.
    psi:            population stability index of any feature against the champion's training rows.
    target_std:     relative change of the target's standard deviation.
    min_drift_rows: rows below which drift isn't computed, because chance alone would pass the bound.
    min_holdout:    test rows below which nothing is promoted, except a first champion.

    A champion carries its policy in its contract. `psi` and `min_drift_rows` are always read from there, so that the
    decision, the monitor, the service's gauges and the alert use one number. A change of the two in a use case's
    file takes effect with its next champion; a change of the others takes effect at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    new_share: float = 0.6
    min_new_rows: int = 10_000
    psi: float = 0.25
    target_std: float = 0.25
    min_drift_rows: int = 500
    min_holdout: int = 200


class Contract(BaseModel):
    """Everything that a caller of the model has to know, beside its ONNX graph.

    The graph's only input is `x`, float32 (n, len(features)), made by `encode`. Its only output is `y`:
    float32 (n,) predictions in the target's unit, or (n, len(classes)) probabilities.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    use_case: str
    title: str
    description: str = ""
    task: Task
    target: Feature
    features: list[Feature]
    missing: list[str] = Field([], description="texts that mean null, besides the empty one")
    classes: list[str] = Field([], description="classifiers: the class of each probability column")
    threshold: float | None = Field(None, description="binary: positive from this probability on")
    metric: str
    greater_is_better: bool
    metrics: dict[str, dict[str, float]] = Field({}, description="split, then metric, of the model")
    baseline: dict[str, dict[str, float]] = Field({}, description="the same of the naive baseline")
    retrain: RetrainPolicy = Field(RetrainPolicy(), description="the bounds of drift and of training")
    reference: dict[str, Reference] = {}
    target_reference: dict[str, float] = Field(
        {}, description="mean and std of the (encoded) training target"
    )
    background: list[list[float | None]] = Field(
        [], description="encoded training rows that explanations start from"
    )
    lineage: Lineage | None = None

    @property
    def example(self) -> dict[str, Any]:
        """One row that `POST /predict` accepts, as JSON types."""
        return {f.name: f.example for f in self.features}

    def read(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows as they came (JSON types), typed and checked, features in order.

        Raises `ContractError` with every problem of every row: a missing or unknown field, a wrong type,
        a value out of range or out of a closed set.
        """
        typed, problems = [], []
        for number, row in enumerate(rows):
            clean = {}
            for feature in self.features:
                name = feature.name
                try:
                    if name not in row:
                        raise FieldError("missing", "is missing (send null when it is unknown)")
                    clean[name] = feature.read(row[name], self._missing)
                except FieldError as error:
                    problems.append({"row": number, "field": name, "rule": error.rule, "message": str(error)})
            if len(row) > len(self._names) or not self._names.issuperset(row):
                problems += [
                    {
                        "row": number,
                        "field": str(name),
                        "rule": "unknown",
                        "message": "is not a field of this model",
                    }
                    for name in row
                    if name not in self._names
                ]
            typed.append(clean)
        if problems:
            raise ContractError(problems)
        return typed

    def encode(self, rows: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """Typed rows (as `read` returns them, or rows of CleanData) as the model's input, float32 (n, features)."""
        encoders = [(f.name, f.encode) for f in self.features]
        rows = list(rows)
        if len(rows) < ROWS_TO_REMEMBER:
            matrix = [[encode(row[name]) for name, encode in encoders] for row in rows]
            return np.array(matrix, dtype=np.float32).reshape(len(rows), len(encoders))
        encoded = np.empty((len(rows), len(encoders)), dtype=np.float32)
        for place, (name, encode) in enumerate(encoders):
            values = [row[name] for row in rows]
            known = {value: encode(value) for value in set(values)}
            encoded[:, place] = [known[value] for value in values]
        return encoded

    def encode_target(self, values: Iterable[Any]) -> np.ndarray:
        """True values of the target as float64 (n,): numbers, 0 and 1, or places among the classes."""
        if self.task == "multiclass":
            place = {name: float(number) for number, name in enumerate(self.classes)}
            return np.array([place[value] for value in values], dtype=np.float64)
        return np.array([float(value) for value in values], dtype=np.float64)

    def json_schema(self) -> dict:
        """One row of `POST /predict` as a JSON schema."""
        return {
            "title": self.title,
            "type": "object",
            "additionalProperties": False,
            "required": [f.name for f in self.features],
            "properties": {f.name: f.json_schema() for f in self.features},
            "examples": [self.example],
        }

    def categories(self) -> list[int]:
        """Positions of the categories among the features."""
        return [place for place, f in enumerate(self.features) if isinstance(f, Category)]

    def numbers(self) -> list[int]:
        """Positions of everything that is not a category."""
        return [place for place, f in enumerate(self.features) if not isinstance(f, Category)]

    def save(self, folder: Path) -> Path:
        path = folder / CONTRACT_FILE
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")
        return path

    @classmethod
    def load(cls, folder: Path) -> "Contract":
        return cls.model_validate_json((folder / CONTRACT_FILE).read_text(encoding="utf-8"))

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(f.name for f in self.features)

    @cached_property
    def _missing(self) -> frozenset[str]:
        return frozenset(self.missing)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
