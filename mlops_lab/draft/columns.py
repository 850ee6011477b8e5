"""What each column of a table is: a number, a category, a date, or nothing to learn from, with the reason."""

import math
import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

from mlops_lab.features import Boolean, Date
from mlops_lab.formatting import number
from mlops_lab.use_case import RESERVED

Kind = Literal["number", "integer", "boolean", "date", "category"]

# Texts that stand for a missing value. "None" and "-" may be values, so they count only among numbers and dates.
MISSING = ("NA", "N/A", "n/a", "nan", "NaN", "null", "NULL", "#N/A", "?")
MISSING_NUMBERS = (*MISSING, "None", "none", "-", "NaT")
# The share of values that must be numbers or dates; the others go to quarantine.
MOST = 0.98
# Greater numbers have no room for a bound above them.
GREATEST = 1e300
# Longer texts, on average, are sentences.
SENTENCE = 40
# MySQL's longest name of a column.
LONGEST_NAME = 64
# Parts of the names of columns that say whose row it is.
IDS = frozenset("id ids nbr no key uuid guid index idx number identifier".split())
ENTITIES = frozenset(
    "patient customer client user member account property household device machine vehicle subject person".split()
)
# Parts of the names of columns whose numbers are codes.
CODES = frozenset("zip zipcode postcode postal code type class category cluster region".split())
DAY = re.compile(r"\d{4}-\d{2}-\d{2}([T ].+)?")
OTHER_DAY = re.compile(r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}([T ].+)?|\d{8}|\d{4}/\d{1,2}/\d{1,2}")


@dataclass(frozen=True)
class Column:
    """A column and what it was found to be.

    kind:     None when it is left out; `note` has the reason then, else what a person should look at.
    seen:     what its values are, in words.
    low:      the least value of a number; high: the greatest.
    values:   the distinct texts of a category, the most frequent first.
    width:    digits of an identifier with leading zeros.
    distinct: the number of distinct values. rows: of rows. missing: of rows without a value.
    tokens:   texts in it that stand for a missing value.
    """

    name: str
    kind: Kind | None
    seen: str
    rows: int
    distinct: int
    missing: int
    note: str = ""
    low: float = math.nan
    high: float = math.nan
    values: list[str] = field(default_factory=list)
    width: int | None = None
    tokens: tuple[str, ...] = ()

    @property
    def words(self) -> set[str]:
        """The lower-case parts of its name: `PassengerId` has passenger and id."""
        apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", self.name)
        return set(re.split(r"[^a-z0-9]+", apart.lower()))

    @property
    def is_entity(self) -> bool:
        """Whether its name says that it tells one patient, customer or thing from another."""
        return bool(self.words & (IDS | ENTITIES))


def look_at(name: str, values: pd.Series) -> Column:
    """What a column is, by its texts."""
    numeric = _without(values, MISSING_NUMBERS)
    numbers = pd.to_numeric(numeric, errors="coerce")
    finite = numbers[numbers.abs() < GREATEST]
    days = numeric.str.fullmatch(DAY.pattern)
    plain = _without(values, MISSING)
    words = set(plain.str.lower().unique()) if plain.nunique() <= 10 else set[str]()
    facts: dict[str, Any] = {"name": name, "rows": len(values)}
    as_text = _facts(plain, values, MISSING)
    if plain.empty:
        return Column(kind=None, seen="no value", note="it has no value", **facts, **as_text)
    if words <= set(Boolean.WORDS) and len(words) == 2 and len({Boolean.WORDS[word] for word in words}) == 2:
        seen = " and ".join(plain.value_counts().index[:4].tolist())
        return Column(kind="boolean", seen=seen, values=_values(plain), **facts, **as_text)
    if len(numeric) and len(finite) >= MOST * len(numeric) and not _has_leading_zeros(numeric):
        return _number(facts | _facts(numeric, values, MISSING_NUMBERS), numeric, finite)
    if len(numeric) and days.mean() >= MOST:
        return _date(facts | _facts(numeric, values, MISSING_NUMBERS), numeric, days)
    if len(numeric) and numeric.str.fullmatch(OTHER_DAY.pattern).mean() >= MOST:
        note = f"its dates look like {numeric.iloc[0]}; the lab reads dates like 2024-01-31"
        return Column(kind=None, seen="dates", note=note, **facts, **as_text)
    return _text(facts | as_text, plain)


def reserved(column: Column) -> str:
    """Why the lab can't have a column of this name; empty when it can."""
    if column.name in RESERVED:
        return f"the lab itself needs the name {column.name}"
    if len(column.name) > LONGEST_NAME:
        return f"its name has over {LONGEST_NAME} characters, which MySQL doesn't take"
    return ""


def _number(facts: dict[str, Any], texts: pd.Series, numbers: pd.Series) -> Column:
    low, high = float(numbers.min()), float(numbers.max())
    whole = bool((numbers == numbers.round()).all())
    seen = f"{number(low)} to {number(high)}"
    column = Column(kind="integer" if whole else "number", seen=seen, low=low, high=high, **facts)
    if reason := _nothing_to_learn(column):
        return _left_out(column, reason)
    if whole and column.distinct == column.rows and (column.words & IDS or _counts_up(numbers)):
        return _left_out(column, "every row has its own number: an id")
    odd = texts[~texts.index.isin(numbers.index)]
    note = f"{len(odd):,} values are no numbers, such as {odd.iloc[0]!r}" if len(odd) else ""
    if whole and column.words & CODES and low >= 0 and high < 1e9:
        values = _values(texts.str.replace(r"\.0+$", "", regex=True))
        facts = facts | {"distinct": len(values)}
        note = "; ".join(filter(None, [note, "numbers that are codes, by the column's name"]))
        return Column(kind="category", seen=_some(values), values=values, note=note, **facts)
    return replace(column, note=note)


def _date(facts: dict[str, Any], texts: pd.Series, days: pd.Series) -> Column:
    reader, unread = Date("day"), 0
    for text in texts[days].unique():
        try:
            reader.read(text)
        except ValueError:
            unread += 1
    known = texts[days].str[:10]
    column = Column(kind="date", seen=f"{known.min()} to {known.max()}", **facts)
    if reason := _nothing_to_learn(column):
        return _left_out(column, reason)
    odd = int((~days).sum()) + unread
    return replace(column, note=f"{odd:,} values are no dates" if odd else "")


def _text(facts: dict[str, Any], texts: pd.Series) -> Column:
    values = _values(texts)
    column = Column(kind="category", seen=_some(values), values=values, **facts)
    if reason := _nothing_to_learn(column):
        return _left_out(column, reason)
    filled = column.rows - column.missing
    if texts.str.len().mean() > SENTENCE:
        return _left_out(column, "sentences; the lab learns from numbers, categories and dates")
    if column.distinct > 0.5 * filled and column.distinct > 20:
        what = "an id" if column.words & IDS else "names or ids"
        return _left_out(column, f"{column.distinct:,} of {filled:,} values are different: {what}")
    width = int(texts.str.len().iloc[0]) if _has_leading_zeros(texts) else None
    same = width is not None and bool((texts.str.len() == width).all())
    return replace(column, width=width if same else None)


def _nothing_to_learn(column: Column) -> str:
    if column.distinct == 1:
        known = "every row" if not column.missing else "every row that has one"
        return f"the same value in {known}"
    return ""


def _left_out(column: Column, reason: str) -> Column:
    return replace(column, kind=None, note=reason)


def _without(values: pd.Series, tokens: tuple[str, ...]) -> pd.Series:
    return values[~values.isin(("", *tokens))]


def _facts(known: pd.Series, values: pd.Series, tokens: tuple[str, ...]) -> dict[str, Any]:
    found = tuple(token for token in tokens if (values == token).any())
    return {"distinct": int(known.nunique()), "missing": len(values) - len(known), "tokens": found}


def _values(texts: pd.Series) -> list[str]:
    return [str(value) for value in texts.value_counts().index]


def _counts_up(numbers: pd.Series) -> bool:
    return bool((numbers.diff().dropna() == 1).all())


def _has_leading_zeros(texts: pd.Series) -> bool:
    """Whether the texts are identifiers of digits, such as zip codes: some of them begin with 0."""
    digits = texts.str.fullmatch(r"\d+")
    return bool(digits.mean() >= MOST and texts.str.fullmatch(r"0\d+").any())


def _some(values: list[str]) -> str:
    if len(values) <= 3:
        return ", ".join(values)
    return f"{len(values):,} values: {', '.join(values[:3])}, …"
