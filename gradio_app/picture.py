"""The pictures of the page: what moved one prediction, and how the versions scored."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mlops_lab.client import Explanation
from mlops_lab.contract import Contract
from mlops_lab.formatting import number, show

TOP = 10  # fields of their own; the rest is one bar
UP, DOWN, STILL = "#3b7dc4", "#d9783a", "#8a8f98"
OUTCOMES = {"promoted": "#2f8f5b", "refused": "#b5543c"}
LABEL = 36  # characters of a field and its value


def waterfall(contract: Contract, row: Mapping[str, Any], explanation: Explanation) -> Figure:
    """From the average of typical rows to this prediction, one bar a field, the strongest on top."""
    features = {f.name: f for f in contract.features}
    ranked = sorted(explanation.values.items(), key=lambda pair: -abs(pair[1]))
    bars = [
        (_short(f"{features[name].title} = {show(features[name], row.get(name))}"), value)
        for name, value in ranked[:TOP]
    ]
    if rest := ranked[TOP:]:
        bars.append((f"{len(rest)} other fields", sum(value for _, value in rest)))

    figure = Figure(figsize=(7, 1.3 + 0.36 * len(bars)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)  # inches
    axes = figure.subplots()
    axes.use_sticky_edges = False
    start = explanation.base_value
    for place, (_, value) in enumerate(reversed(bars)):  # from the base up to the strongest
        axes.barh(place, value, left=start, color=UP if value >= 0 else DOWN, height=0.62)
        start += value
        if place + 1 < len(bars):
            axes.plot([start, start], [place, place + 1], color=STILL, linewidth=0.6)
        axes.annotate(
            f"{'+' if value >= 0 else '−'}{_amount(contract, abs(value))}",
            (max(start, start - value), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.axvline(explanation.base_value, color=STILL, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(bars)), [label for label, _ in reversed(bars)], fontsize=9)
    axes.margins(x=0.16)
    axes.xaxis.set_major_formatter(lambda value, _: _tick(contract, value))
    axes.tick_params(axis="x", labelsize=8)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel(_what(contract, explanation), fontsize=9)
    axes.set_title(
        f"What moved it (SHAP)\n{_amount(contract, explanation.base_value)} on average, "
        f"{_amount(contract, explanation.explained)} here",
        fontsize=10,
        loc="left",
    )
    return figure


def history(versions: Sequence[Mapping[str, Any]], metric: str, greater_is_better: bool) -> Figure:
    """Each version's own score on the test rows of its day, coloured by outcome, against the naive baseline.

    versions: oldest first; `version`, `outcome`, `test` and `baseline` (numbers or None).
    """
    scored = [v for v in versions if v["test"] is not None]
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    if naive := [v for v in scored if v["baseline"] is not None]:
        axes.plot(
            [v["version"] for v in naive],
            [v["baseline"] for v in naive],
            color=STILL,
            linestyle="--",
            linewidth=1,
            label="naive baseline",
        )
    for outcome, colour in [*OUTCOMES.items(), ("not chosen", STILL)]:
        group = [v for v in scored if (v["outcome"] if v["outcome"] in OUTCOMES else "not chosen") == outcome]
        if group:
            axes.scatter(
                [v["version"] for v in group],
                [v["test"] for v in group],
                color=colour,
                label=outcome,
                zorder=3,
            )
    axes.xaxis.get_major_locator().set_params(integer=True)
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


def _what(contract: Contract, explanation: Explanation) -> str:
    target = contract.target
    if contract.task == "regression":
        return f"{target.title} ({target.unit})" if target.unit else target.title
    return f"probability of {target.title}: {show(target, explanation.class_ or 'true')}"


def _amount(contract: Contract, value: float, unit: bool = True) -> str:
    if contract.task != "regression":
        return f"{value:.1%}"
    return f"{number(value)} {contract.target.unit or ''}".strip() if unit else number(value)


def _tick(contract: Contract, value: float) -> str:
    """A probability's axis has room beyond 0 and 1 for the bars' labels, but no values."""
    beyond = contract.task != "regression" and not -1e-9 <= value <= 1 + 1e-9
    return "" if beyond else _amount(contract, value, unit=False)


def _short(text: str) -> str:
    # A dollar sign would begin a formula.
    text = text if len(text) <= LABEL else text[: LABEL - 1] + "…"
    return text.replace("$", r"\$")
