"""The plots of the page: the explanation of one prediction, and the scores of the versions.

Each is an inline SVG without a background, in the page's own text colour: it suits light and dark, and has a text for
people who don't see it. matplotlib draws texts as outlines, so no text of the data can become markup.
"""

from collections.abc import Mapping, Sequence
from html import escape
from io import StringIO
from typing import Any

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from mlops_lab.client import ExplainReply, ModelVersion
from mlops_lab.contract import Contract
from mlops_lab.form import (
    DOWN,
    NEUTRAL,
    OUTCOME_COLOURS,
    UP,
    Contribution,
    amount,
    change,
    change_of,
    contributions,
    explained,
    from_to,
    outcome_group,
)

# Characters of a field and its value.
LABEL = 36


def waterfall(contract: Contract, row: Mapping[str, Any], explanation: ExplainReply) -> str:
    """From the average of typical rows to this prediction, one bar for each field, the strongest on top; as HTML."""
    bars = contributions(contract, row, explanation)
    said = "; ".join(f"{bar.label} {change(contract, explanation, bar.value)}" for bar in bars)
    about = f"Waterfall: {change_of(contract, explanation)}, {from_to(contract, explanation)}: {said}."
    return _html(_waterfall(contract, bars, explanation), about)


def _waterfall(contract: Contract, bars: Sequence[Contribution], explanation: ExplainReply) -> Figure:
    # Padding in inches.
    layout = ConstrainedLayoutEngine(w_pad=0.12)
    figure = Figure(figsize=(7, 1.3 + 0.36 * len(bars)), layout=layout)
    axes = figure.subplots()
    axes.use_sticky_edges = False
    start = explanation.base_value
    # The lowest bar begins at the base value, the strongest field comes last and is on top.
    for index, bar in enumerate(reversed(bars)):
        axes.barh(index, bar.value, left=start, color=UP if bar.value >= 0 else DOWN, height=0.62)
        start += bar.value
        if index + 1 < len(bars):
            axes.plot([start, start], [index, index + 1], color=NEUTRAL, linewidth=0.6)
        axes.annotate(
            change(contract, explanation, bar.value),
            (max(start, start - bar.value), index),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.axvline(explanation.base_value, color=NEUTRAL, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(bars)), [_short(bar.label) for bar in reversed(bars)], fontsize=9)
    axes.margins(x=0.16)
    # At most five, since labels such as "1,000,000" are wide.
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: _tick(contract, value))
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(_plain(explained(contract, explanation)), fontsize=9)
    axes.set_title(
        _plain(f"{change_of(contract, explanation)},\n{from_to(contract, explanation)}").replace(
            " on average to ", " on average\nto "
        ),
        fontsize=10,
        loc="left",
    )
    return figure


def history(versions: Sequence[ModelVersion], metric: str, greater_is_better: bool) -> str:
    """The test score of each version, coloured by outcome, and the score of the naive baseline on the same rows.

    Every version was scored on the test rows that existed when it was trained. versions: oldest first. As HTML.
    """
    scores = [
        f"version {v.version} {v.facts.test:.4g} ({v.facts.outcome})"
        for v in versions
        if v.facts.test is not None
    ]
    about = f"Test {metric}: {', '.join(scores[-20:])}."
    return _html(_history(versions, metric, greater_is_better), about)


def _history(versions: Sequence[ModelVersion], metric: str, greater_is_better: bool) -> Figure:
    scored = [(version.version, version.facts) for version in versions if version.facts.test is not None]
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    if naive := [(number, tags.baseline) for number, tags in scored if tags.baseline is not None]:
        axes.plot(
            *zip(*naive, strict=True), color=NEUTRAL, linestyle="--", linewidth=1, label="naive baseline"
        )
    for outcome, colour in OUTCOME_COLOURS.items():
        if points := [
            (number, tags.test) for number, tags in scored if outcome_group(tags.outcome) == outcome
        ]:
            axes.scatter(*zip(*points, strict=True), color=colour, label=outcome, zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.margins(y=0.2)
    axes.set_xlabel("version", fontsize=9)
    axes.set_ylabel(f"test {metric}", fontsize=9)
    better = "higher is better" if greater_is_better else "lower is better"
    axes.set_title(f"Test {metric} by version ({better})", fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if scored:
        figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=4)
    return figure


def _tick(contract: Contract, value: float) -> str:
    """The label of a tick. An axis of probabilities goes beyond 0 and 1, but has no labels there."""
    beyond = contract.task != "regression" and not -1e-9 <= value <= 1 + 1e-9
    return "" if beyond else amount(contract, value, unit=False)


def _short(text: str) -> str:
    return _plain(text if len(text) <= LABEL else text[: LABEL - 1] + "…")


def _plain(text: str) -> str:
    # A dollar sign would begin a formula.
    return text.replace("$", r"\$")


def _html(figure: Figure, about: str) -> str:
    """The figure as wide as its place. about: what it shows, for screen readers."""
    drawn = StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = drawn.getvalue()
    # Texts have no colour of their own in the file, lines are black.
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    style = "max-width: 100%; height: auto; fill: currentColor; color: var(--body-text-color)"
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(about)}" style="{style}"', 1)
