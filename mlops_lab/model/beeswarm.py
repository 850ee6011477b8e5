"""The SHAP values of some rows as a plot: a line of points for each feature, coloured by the feature's value.

It is the plot that the package shap draws. The package itself would bring numba and LLVM, which are 94 MiB in each
process that trains and 150 MB in the image, for this one picture.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Points of a line that are drawn side by side: as many places as the width has.
PLACES = 100
# Half of a line's height that its points may take.
REACH = 0.4
WITHOUT = "#777777"
# Low, middle, high: none is pale on white.
COLOURS = ("#1f77d0", "#8e44ad", "#d62728")


def beeswarm(pyplot: Any, values: np.ndarray, amounts: np.ndarray, names: Sequence[str], shown: int) -> Any:
    """A new figure's axes; the feature that moves most is on top, and the last line is the sum of those left out.

    values:  SHAP values, (n, features).
    amounts: the features' values, (n, features), from low (blue) to high (red); NaN has no colour.
    names:   of the features.
    shown:   the most lines.
    """
    ranked = np.argsort(-np.abs(values).mean(axis=0), kind="stable")
    lines = [(names[one], values[:, one], amounts[:, one]) for one in ranked]
    if len(lines) > shown:
        left = ranked[shown - 1 :]
        rest = values[:, left].sum(axis=1)
        lines[shown - 1 :] = [(f"sum of {len(left)} others", rest, np.full(len(rest), np.nan))]
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("amounts", COLOURS)
    figure, axes = pyplot.subplots(figsize=(8, 0.35 * len(lines) + 1.5))
    for height, (_, moved, amount) in enumerate(reversed(lines)):
        known = np.isfinite(amount)
        places = height + _spread(moved)
        axes.scatter(moved[~known], places[~known], s=14, color=WITHOUT, linewidths=0, zorder=2)
        shades = _shades(amount[known])
        axes.scatter(
            moved[known],
            places[known],
            s=14,
            c=shades,
            vmin=0,
            vmax=1,
            cmap=colours,
            linewidths=0,
            zorder=3,
        )
    axes.axvline(0, color="#999999", linewidth=1, zorder=1)
    axes.set_yticks(range(len(lines)), [name for name, _, _ in reversed(lines)])
    axes.set_ylim(-0.7, len(lines) - 0.3)
    axes.grid(axis="y", linestyle=":", linewidth=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if np.isfinite(amounts).any():
        scale = pyplot.cm.ScalarMappable(pyplot.Normalize(0, 1), colours)
        bar = figure.colorbar(scale, ax=axes, ticks=[0, 1], aspect=60, pad=0.02)
        bar.ax.set_yticklabels(["low", "high"])
        bar.set_label("value of the feature", labelpad=-12)
        bar.outline.set_visible(False)
    return axes


def _spread(moved: np.ndarray) -> np.ndarray:
    """Each point's distance from the middle of its line, (n,): points at one place are side by side, up and down."""
    width = np.ptp(moved) or 1.0
    place = np.round(PLACES * (moved - moved.min()) / width)
    order = np.argsort(place, kind="stable")
    first = np.searchsorted(place[order], place[order])
    number = np.empty(len(moved))
    number[order] = np.arange(len(moved)) - first
    # 0, 1, -1, 2, -2, …
    side = np.ceil(number / 2) * np.where(number % 2, 1, -1)
    return REACH * side / max(np.abs(side).max(), 6)


def _shades(amount: np.ndarray) -> np.ndarray:
    """0 to 1 from the fifth percentile to the ninety-fifth, so that one large value doesn't make all others pale."""
    if not len(amount):
        return amount
    low, high = np.percentile(amount, (5, 95))
    if low == high:
        low, high = amount.min(), amount.max()
    return np.clip((amount - low) / ((high - low) or 1.0), 0, 1)
