"""What every kind of feature has: how a raw value is read and checked, and the error of a value that breaks a rule."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FieldError(ValueError):
    """A value breaks a rule of its feature. `rule` is the rule's short name; the text says what is wrong."""

    def __init__(self, rule: str, message: str):
        self.rule = rule
        super().__init__(message)


def as_text(raw: Any) -> str | None:
    """A raw value of JSON as RawData stores it: a string as it is, null and NaN as None, true as "true"."""
    if isinstance(raw, str) or raw is None:
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, float):
        # -0.0 equals 0.0, so both have the same text.
        return None if raw != raw else float.__repr__(raw + 0.0)
    return str(raw)


class BaseFeature(BaseModel):
    """The fields and methods of every kind of feature.

    Each kind names the constructor again, because type checkers assume one that takes only keywords.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str = ""
    description: str = ""
    unit: str | None = None
    required: bool = Field(False, description="whether null is refused; otherwise null means unknown")
    example: Any = None

    def __init__(self, name: str, title: str = "", **values: Any) -> None:
        super().__init__(name=name, title=title or name.replace("_", " ").capitalize(), **values)

    def read(self, raw: Any, missing: frozenset[str] = frozenset()) -> Any:
        """A raw value (text, number, null) as this feature's own type, checked.

        A number or a boolean is read as its text is: `read(as_text(raw)) == read(raw)` for every accepted value.
        missing: strings that are read as null, in addition to the empty string. Raises `FieldError`.
        """
        if isinstance(raw, str):
            if not raw.isascii():
                _check_encoding(raw)
            raw = raw.strip()
            is_null = raw == "" or raw in missing
        else:
            is_null = raw is None or raw != raw or (bool(missing) and as_text(raw) in missing)
        value = None if is_null else self._parse(raw)
        if value is None:
            if self.required:
                raise FieldError("missing", "must not be null")
            return None
        self._check(value)
        return value

    def encode(self, value: Any) -> float:
        """A value of this feature's own type as a number of the model's input; NaN for None."""
        return math.nan if value is None else float(value)

    def json_schema(self) -> dict[str, Any]:
        """The feature as a JSON schema property, for OpenAPI."""
        schema = {"title": self.title, **self._json_type()}
        if not self.required:
            schema["type"] = [schema["type"], "null"]
            if "enum" in schema:
                schema["enum"] = [*schema["enum"], None]
        unit = f"Unit: {self.unit}." if self.unit else ""
        about = " ".join(part for part in (self.description, self.about_labels(), unit) if part)
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

    def about_labels(self) -> str:
        """The labels of a category's values as a sentence; empty when it has none."""
        return ""

    def _json_type(self) -> dict[str, Any]:
        raise NotImplementedError


def short(value: Any) -> str:
    """A value as an error quotes it, at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _check_encoding(text: str) -> None:
    """JSON may hold half of a pair of surrogates, which no database can store."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise FieldError("encoding", f"must be a text that UTF-8 can encode, not {short(text)}") from None
