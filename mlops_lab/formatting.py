"""Values of a contract and counts as text. Every page, report and message writes them the same way."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_lab.features import Feature

UP, DOWN, NEUTRAL = "#3b7dc4", "#d9783a", "#8a8f98"
# What became of a version, on the pages and in the terminal.
OUTCOME_COLOURS = {"promoted": "#2f8f5b", "refused": "#b5543c", "waiting": "#d9a13a", "not chosen": NEUTRAL}
# The same, and what became of a batch or of its rows, in the terminal.
WORD_COLOURS = {
    **OUTCOME_COLOURS,
    "train": UP,
    "skip": NEUTRAL,
    "quarantined": DOWN,
    "held": OUTCOME_COLOURS["waiting"],
    "broken": OUTCOME_COLOURS["refused"],
    "rolled back": OUTCOME_COLOURS["refused"],
}


def show(feature: "Feature", value: Any) -> str:
    """A value without its unit; None is `unknown`. A category's value is shown by its label."""
    from mlops_lab.features import Boolean, Category, Number

    if value is None:
        return "unknown"
    if isinstance(value, bool) or isinstance(feature, Boolean):
        return yes_no(value in (True, "true"))
    if isinstance(feature, Category):
        return feature.label(str(value))
    return number(value) if isinstance(feature, Number) else str(value)


def number(value: float, digits: int = 4) -> str:
    """A number with that many significant digits and a comma between thousands; `–` when it isn't finite."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) or abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}".rstrip("0").rstrip(".")


def score(metric: str, value: float | None, unit: str | None = None) -> str:
    """A metric's value as people read it: `17.7%`, `56,770 USD`, `0.2732`; `–` when it isn't known.

    unit: the target's, for the metrics that are amounts of it.
    """
    from mlops_lab.metrics import METRICS

    if value is None or not math.isfinite(value):
        return "–"
    shown = METRICS[metric].shown if metric in METRICS else "plain"
    if shown == "share":
        return f"{value:.1%}"
    return f"{number(value)} {unit}" if shown == "amount" and unit else number(value)


def counted(amount: int, one: str, many: str = "") -> str:
    """`1 batch`, `1,200 batches`. many: the plural; `one` with an s when left out."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def yes_no(value: bool) -> str:
    """A boolean as a word."""
    return "Yes" if value else "No"


def bounds(feature: "Feature") -> str:
    """The range of a number or a date as a sentence; empty when the feature has no bounds."""
    from mlops_lab.features import Date, Number

    if not isinstance(feature, Number | Date):
        return ""
    low, high = (number(b) if isinstance(b, float) else b for b in (feature.minimum, feature.maximum))
    if low is not None and high is not None:
        return f"From {low} to {high}."
    if low is not None:
        return f"At least {low}."
    return f"At most {high}." if high is not None else ""


def bound(feature: "Feature", encoded: float) -> str:
    """An encoded value of a number or a date as people read it, such as the edge of a bin."""
    from datetime import date

    from mlops_lab.features import Date

    if not isinstance(feature, Date):
        return number(encoded)
    return str(date.fromordinal(round(encoded - feature.encode(date.min)) + 1))


# Joins two characters without a visible sign.
JOINER = "\u2060"
# Our own address in a message can be copied; an address from elsewhere must not become a link.
_ADDRESS = re.compile(
    r"(?:(?:https?|ftp):(?=//(?!(?:127\.0\.0\.1|localhost)(?::\d+)?(?:[/\s]|$)))|www(?=\.)|@(?=\w))",
    re.IGNORECASE,
)


def literal(text: object) -> str:
    """Any text as Markdown that shows exactly it, in one line: no markup, HTML, picture, formula, icon or link.

    For every text that isn't the page's own: values, titles, reasons, messages of a service. Streamlit and Gradio
    replace icons and bare addresses after they have read the backslashes, so a joiner breaks those.
    """
    line = re.sub(r"[\s\x00-\x1f\x7f]+", " ", str(text)).strip()
    line = re.sub(r"(?<=:)(?=material/|[\w+-]*[a-z_][\w+-]*:)", JOINER, line)
    line = _ADDRESS.sub(lambda found: found[0] + JOINER, line)
    line = re.sub(r"([\\`*\[\]<>|$~]|(?<!\w)_|_(?!\w)|&(?=#?\w+;)|:(?=\u2060?[A-Za-z]))", r"\\\1", line)
    return re.sub(r"^(\d*)(?:([.)])(?=\s|$)|(?<!\d)([-+#=:])(?=[\s#=:-]|$))", r"\1\\\2\3", line)


def row_counts(batch: Mapping[str, Any]) -> str:
    """A batch's numbers of rows: "400 received, 2 quarantined, 390 clean"; a number that is None is left out."""
    counts = {name: batch[name] for name in ("received", "quarantined", "clean") if batch[name] is not None}
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "rows not counted yet"


def holdout_words(uses: int, since: str | None) -> str:
    """How often promotion decisions have read the test rows; since: the day of the first one."""
    if not uses or not since:
        return "no decision has read the test rows yet"
    return f"{counted(uses, 'decision')} read the test rows since {since}"
