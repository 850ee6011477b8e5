"""The five kinds of feature: how a raw value is read, checked, encoded for the model, and described as JSON schema.

Pure pydantic and numpy. The pipeline, the API, the forms and the load test all read a value with the same
`Feature.read`.
"""

import math
import re
from collections import Counter
from datetime import date, datetime
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AliasChoices, Field, model_validator

from mlops_lab.base_feature import BaseFeature, FieldError, as_text, short

# The number of a category's values in the schema; `GET /models/{use_case}/values` has all of them.
SCHEMA_VALUES = 50
# The longest category value, in characters; also the column's width in the databases.
TEXT_LIMIT = 255
# The model's input is float32: a larger number would become infinite.
FLOAT32_MAX = 3.4028234e38
# The databases keep whole numbers in 64 bits.
INTEGER_LIMIT = 2**63
# Codes of a category: a missing value, a rare or unknown value, and the most frequent value.
MISSING_CODE, RARE_CODE, FIRST_CODE = 0, 1, 2


class Number(BaseFeature):
    """A real number. Bounds are inclusive, in the feature's unit."""

    type: Literal["number"] = "number"
    __init__ = BaseFeature.__init__
    minimum: float | None = None
    maximum: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"{self.name}: minimum is above maximum")
        return self

    def _parse(self, raw: Any) -> float:
        if isinstance(raw, bool) or not isinstance(raw, int | float | str | np.number):
            raise FieldError("type", "must be a number")
        # Python also reads "1_000", and the digits of every script.
        if isinstance(raw, str) and ("_" in raw or not raw.isascii()):
            raise FieldError("type", f"must be a number, not {short(raw)}")
        try:
            # The sum makes 0.0 of -0.0: equal values must have equal hashes.
            value = float(raw) + 0.0
        except ValueError:
            raise FieldError("type", f"must be a number, not {short(raw)}") from None
        except OverflowError:
            value = math.inf
        if not abs(value) <= FLOAT32_MAX:
            raise FieldError("type", "must be a finite number within the range of a 32-bit float")
        return value

    def _check(self, value: float) -> None:
        if self.minimum is not None and value < self.minimum:
            raise FieldError("minimum", f"must be at least {self.minimum:g}, not {value:g}")
        if self.maximum is not None and value > self.maximum:
            raise FieldError("maximum", f"must be at most {self.maximum:g}, not {value:g}")

    def _json_type(self) -> dict[str, Any]:
        return {
            "type": "number",
            "minimum": -FLOAT32_MAX if self.minimum is None else self.minimum,
            "maximum": FLOAT32_MAX if self.maximum is None else self.maximum,
        }


class Integer(Number):
    """A whole number; `4.0` and `"4.0"` are 4."""

    type: Literal["integer"] = "integer"  # pyrefly: ignore[bad-override]
    __init__ = BaseFeature.__init__

    def _parse(self, raw: Any) -> int:
        value = super()._parse(raw)
        if value != int(value):
            raise FieldError("type", f"must be a whole number, not {value:g}")
        if not -INTEGER_LIMIT <= value < INTEGER_LIMIT:
            raise FieldError("type", f"must be a whole number of at most 64 bits, not {value:g}")
        return int(value)

    def _json_type(self) -> dict[str, Any]:
        return super()._json_type() | {"type": "integer"}


class Boolean(BaseFeature):
    """True or false; encoded as 1 or 0. The numbers 1 and 0 are read as true and false."""

    type: Literal["boolean"] = "boolean"
    __init__ = BaseFeature.__init__
    WORDS: ClassVar[dict[str, bool]] = {
        **dict.fromkeys(("true", "yes", "1", "1.0"), True),
        **dict.fromkeys(("false", "no", "0", "0.0"), False),
    }

    def _parse(self, raw: Any) -> bool:
        word = str(as_text(raw)).lower()
        if word not in self.WORDS:
            raise FieldError("type", f"must be true or false, not {short(raw)}")
        return self.WORDS[word]

    def _json_type(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Date(BaseFeature):
    """A calendar day, `YYYY-MM-DD`, or a moment, of which the day counts; encoded as days since 1970-01-01."""

    type: Literal["date"] = "date"
    __init__ = BaseFeature.__init__
    minimum: date | None = None
    maximum: date | None = None
    _EPOCH: ClassVar[int] = date(1970, 1, 1).toordinal()
    # Python also reads weeks, days without hyphens, and any character between day and time.
    _DAY: ClassVar[re.Pattern[str]] = re.compile(r"\d{4}-\d{2}-\d{2}([T ].+)?", re.ASCII)

    def _parse(self, raw: Any) -> date:
        if isinstance(raw, datetime):
            return raw.date()
        if isinstance(raw, date):
            return raw
        try:
            if not self._DAY.fullmatch(str(raw)):
                raise ValueError
            return datetime.fromisoformat(str(raw)).date()
        except ValueError:
            raise FieldError("type", f"must be a date like 2024-01-31, not {short(raw)}") from None

    def _check(self, value: date) -> None:
        if self.minimum is not None and value < self.minimum:
            raise FieldError("minimum", f"must not be before {self.minimum}")
        if self.maximum is not None and value > self.maximum:
            raise FieldError("maximum", f"must not be after {self.maximum}")

    def encode(self, value: date | None) -> float:
        return math.nan if value is None else float(value.toordinal() - self._EPOCH)

    def _json_type(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


class Category(BaseFeature):
    """A value from a set of strings; a number is read as its text (`601.0` is "601").

    allow_unknown:  True: an unknown value is accepted and gets the code of rare values. False: it is refused, and the
                    message names the allowed values.
    allowed:        the allowed values; when left empty, the values of the training data.
    width:          identifiers with a fixed number of digits are padded with zeros (`601` is "00601" with width 5).
    mapping:        a many-to-one map that is applied before encoding, for example from a diagnosis code to its
                    chapter. A value is looked up whole, then without the part after its point. A value that isn't in
                    the map counts as unknown.
    min_count:      a value gets its own code when at least this many training rows have it,
    max_categories: and when it is among this many most frequent values.
    vocabulary:     set by training: the values that have a code, the most frequent first.
    labels:         what people read in place of a value, for example {"1": "lodgepole pine"}. Callers send the value.

    The names of earlier releases (open, groups, at_least, at_most, codes) are still read, in use cases and in stored
    contracts.
    """

    type: Literal["category"] = "category"
    __init__ = BaseFeature.__init__
    allow_unknown: bool = Field(False, validation_alias=AliasChoices("allow_unknown", "open"))
    allowed: list[str] = Field(default_factory=list)
    width: int | None = None
    mapping: dict[str, str] = Field(default_factory=dict, validation_alias=AliasChoices("mapping", "groups"))
    min_count: int = Field(20, validation_alias=AliasChoices("min_count", "at_least"))
    max_categories: int = Field(1000, validation_alias=AliasChoices("max_categories", "at_most"))
    vocabulary: list[str] = Field(default_factory=list, validation_alias=AliasChoices("vocabulary", "codes"))
    labels: dict[str, str] = Field(default_factory=dict)

    _WHOLE: ClassVar[re.Pattern[str]] = re.compile(r"-?\d+\.0+")

    @model_validator(mode="after")
    def _labelled(self) -> Self:
        if self.allowed and not self.allow_unknown and (odd := self.labels.keys() - self._allowed):
            raise ValueError(f"{self.name}: labels has {short(min(odd))}, which isn't an allowed value")
        texts = Counter(self.label(value) for value in {*self.labels, *self.allowed})
        if twice := [text for text, count in texts.items() if count > 1]:
            raise ValueError(f"{self.name}: labels says {short(min(twice))} for two values")
        return self

    def _parse(self, raw: Any) -> str:
        if isinstance(raw, bool) or not isinstance(raw, int | float | str | np.number):
            raise FieldError("type", "must be a text")
        text = str(as_text(raw))
        if self._WHOLE.fullmatch(text):
            text = text.partition(".")[0]
        if len(text) > TEXT_LIMIT:
            raise FieldError("length", f"must be at most {TEXT_LIMIT} characters")
        return text.zfill(self.width) if self.width and text.isdigit() else text

    def _check(self, value: str) -> None:
        if not self.allow_unknown and self._allowed and value not in self._allowed:
            names = ", ".join(self.values[:SCHEMA_VALUES])
            raise FieldError("category", f"must be one of {names}; not {short(value)}")

    def mapped(self, value: str) -> str:
        """The value, or with a mapping what it maps to; "" (unknown) when it isn't in the mapping."""
        if not self.mapping:
            return value
        return self.mapping.get(value) or self.mapping.get(value.partition(".")[0], "")

    def encode(self, value: str | None) -> float:
        if value is None:
            return float(MISSING_CODE)
        return float(self._code.get(self.mapped(value) if self.mapping else value, RARE_CODE))

    def knows(self, value: str | None) -> bool:
        """Whether the value has a code of its own; True for None."""
        return value is None or self.mapped(value) in self._code

    def label(self, value: str) -> str:
        """What people read in place of the value: its label, or the value itself."""
        return self.labels.get(value, value)

    @property
    def values(self) -> list[str]:
        """The values to offer in a form, the most frequent first."""
        if self.mapping:
            return sorted(self.mapping)
        return self.vocabulary + [value for value in self.allowed if value not in self._code]

    def search(self, text: str) -> list[str]:
        """The values of which value or label contains the text, those that begin with it first; else as `values`."""
        text = text.casefold()
        found = [(value, value.casefold(), self.label(value).casefold()) for value in self.values]
        found = [names for names in found if text in names[1] or text in names[2]]
        return [names[0] for names in sorted(found, key=lambda n: not n[1].startswith(text))]

    @cached_property
    def _code(self) -> dict[str, int]:
        return {value: code for code, value in enumerate(self.vocabulary, FIRST_CODE)}

    @cached_property
    def _allowed(self) -> frozenset[str]:
        return frozenset(self.allowed)

    def about_labels(self) -> str:
        named = list(self.labels.items())[:SCHEMA_VALUES]
        return "; ".join(f"{value}: {label}" for value, label in named) + "." if named else ""

    def _json_type(self) -> dict[str, Any]:
        values = self.values
        if not self.allow_unknown and 0 < len(values) <= SCHEMA_VALUES:
            return {"type": "string", "enum": values}
        return {"type": "string", "maxLength": TEXT_LIMIT, "x-values": values[:SCHEMA_VALUES]}


Feature = Annotated[Number | Integer | Boolean | Date | Category, Field(discriminator="type")]
