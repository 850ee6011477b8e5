"""Values of a category that the champion has no code for, although many of the new rows have them."""

import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.features import Category


def uncoded(feature: Category, column: pd.Series) -> pd.Series:
    """How many rows have each value that has no code of its own, the most frequent first; mapped, where it maps.

    feature: of the champion's contract. column: typed values.
    """
    counts = column.dropna().value_counts()
    new = counts[[not feature.knows(value) for value in counts.index]]
    if new.empty:
        return new
    return (
        new.groupby([feature.mapped(value) or value for value in new.index])
        .sum()
        .sort_values(ascending=False)
    )


def frequent_new(contract: Contract, frame: pd.DataFrame, share: float) -> dict[str, dict[str, float]]:
    """By category: the values without a code of their own that at least this fraction of the rows has, with theirs.

    A value that fewer rows have than the feature's `min_count` isn't frequent: it would get no code.
    frame: typed rows, with features of the contract; the others are left out.
    """
    found = {}
    for feature in contract.features:
        if not isinstance(feature, Category) or feature.name not in frame or frame.empty:
            continue
        counts = uncoded(feature, frame[feature.name])
        counts = counts[counts >= max(feature.min_count, share * len(frame))]
        if len(counts):
            found[feature.name] = {str(value): count / len(frame) for value, count in counts.items()}
    return found


def named(found: dict[str, dict[str, float]], most: int = 3) -> str:
    """The result of `frequent_new` in words: `district "docks" (12%), "hill" (6%)`; the first of each feature."""
    return "; ".join(
        f"{feature} "
        + ", ".join(f'"{value[:40]}" ({share:.0%})' for value, share in list(values.items())[:most])
        for feature, values in found.items()
    )
