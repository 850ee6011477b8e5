"""The bounds of the named checks of a batch, as a use case declares them. docs/decisions.md explains each check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """Two bounds of a figure: above `warn` the check warns, above `fail` the batch is held back. None: it never is."""

    warn: float
    fail: float | None = None


@dataclass(frozen=True)
class CheckPolicy:
    """When a check of a batch warns, and when it holds the batch back before anything is learnt from it.

    fewest:     clean rows below which the batch is held back.
    min_rows:   rows below which a batch is small: it gets a warning, and a share of its rows holds nothing back,
                because chance alone would pass the bound.
    nulls:      by how much the share of nulls of a column is above that of the champion's training rows.
    duplicates: fraction of the clean rows that are repeated in the batch, or that earlier batches brought.
    ranges:     fraction of the rows in quarantine.
    extremes:   fraction of a column's rows far outside of what the champion's training rows had.
    target:     fraction of the rows whose features equal those of another row with another target.
    categories: by how much the share of a category's values without a code of their own is above that of the champion's
                training rows. A single frequent new value warns by `RetrainPolicy.new_category`.
    drift_fail: population stability index above which the batch is held back; `RetrainPolicy.psi` warns.

    Duplicates, new categories and drift hold nothing back by default: known rows are never learnt twice, and the other
    two are what a training is for.
    """

    fewest: int = 0
    min_rows: int = 100
    nulls: Bound = Bound(0.1, 0.5)
    duplicates: Bound = Bound(0.5)
    ranges: Bound = Bound(0.02, 0.5)
    extremes: Bound = Bound(0.05, 0.9)
    target: Bound = Bound(0.05, 0.5)
    categories: Bound = Bound(0.1)
    drift_fail: float | None = None
