"""A synthetic housing market with the shape of the real listings, whose best possible score is known.

Columns, null rates, duplicates, relistings and price cuts follow the US realtor listings that the course's
Data API serves; every price is drawn, so the limit that no model can beat is a formula and not a guess.

How a price comes about
    ``log(price) = mean_log_price(observed columns) + SIGMA * e``, with ``e`` standard normal and fresh for
    each listing (a relisted property gets the same mean and new noise).  ``price`` is then rounded to 100
    USD, which adds less than 1e-6 to the variance.

Nulls hide nothing
    A null is a fact about the property, and the mean is a function of that fact: land has no bed, bath and
    house_size; a flat has no acre_lot; a studio has no bed; a row without zip_code lies outside its city's
    zip areas and has no zip effect; a row without city still has a zip_code, and a zip_code lies in one city.
    ``status``, ``brokered_by``, ``street`` and ``prev_sold_date`` have no effect on the price.

The best possible score
    Each listing of the market is put into exactly one batch, by a probability that depends on its price band
    and its state only.  Among the listings of the batches served so far, the log price of a row is therefore
    the normal above, weighted in each price band by the share of that band (and state) that was served: a
    mixture of truncated normals, whose mean is the best prediction and whose variance is the least squared
    error.  With all batches served every weight is 1, the cuts cancel out, and the best RMSE of log price is
    SIGMA itself.  Duplicates and bad rows are copies of such listings and must be removed before scoring, as
    the lab's validation and cleaning do.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datos.synthetic.places import STATES, Places
from datos.synthetic.rows import as_text, to_float

COLUMNS = tuple(
    """
    brokered_by status price bed bath acre_lot street city state zip_code house_size prev_sold_date
    """.split()
)
KINDS: dict[str, type] = dict.fromkeys(
    "brokered_by price bed bath acre_lot street zip_code house_size".split(), float
)
"""Columns that hold numbers, with their type in JSON; the others hold text."""
SIGMA = 0.30
"""Standard deviation of log price that no column explains."""
CUTS = (300_000, 500_000)
"""USD: a price equal to a cut belongs to the band below it."""
DEFAULT_SCALE = 0.04
FULL_SIZES = (140_000, 100_000, 4_055, 190_000, 361_457, 100_000)
"""Rows of each batch at scale 1: two batches up to 300k, two up to 500k, one above, one of old rows."""
BATCHES = tuple(range(1, len(FULL_SIZES) + 1))

# Distinct listings at scale 1; the other rows are copies.
_LISTINGS = 605_000
_RELISTED = 0.06
_BAD = 0.005

# Fraction of the last batch that was not served before.
_LAST_NEW = 0.05

# The course's smallest batch holds one state only.
_SMALL_STATE = "Massachusetts"

# The fault of a bad row: rule: (column, the text that replaces its value)
BAD_VALUES = {
    "price is zero": ("price", "0.0"),
    "price is text": ("price", "call agent"),
    "bed is negative": ("bed", "-2.0"),
    "bath is text": ("bath", "two"),
    "house_size is absurd": ("house_size", "1234567890.0"),
    "house_size is negative": ("house_size", "-950.0"),
    "acre_lot is negative": ("acre_lot", "-0.5"),
    "bed is absurd": ("bed", "4000.0"),
}


# The values of each column, as texts or numbers; a DataFrame will do.
Columns = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Batch:
    """One batch as served: `rows` of texts in the order of COLUMNS, and `bad`: row position → rule broken."""

    rows: list[list[str]]
    bad: dict[int, str]


class Market:
    """The market of one seed and scale; equal arguments give equal bytes on every machine.

    `scale` multiplies the batch sizes of the course (1.0 is 895,512 rows; 0.04 is a laptop demo of 35,820).
    Raises ValueError for a scale outside 0.005 … 2.
    """

    columns: tuple[str, ...] = COLUMNS
    kinds = KINDS
    source = "synthetic housing market"

    def __init__(self, seed: int = 7, scale: float = DEFAULT_SCALE) -> None:
        if not 0.005 <= scale <= 2:
            raise ValueError(f"scale is {scale}; give a number from 0.005 to 2")
        self.seed = seed
        self.scale = scale
        self.sizes = tuple(max(2, round(size * scale)) for size in FULL_SIZES)
        self._places = Places(seed)

    def read(self, number: int) -> list[list[str]]:
        """Rows of batch `number` (from 1), each a list of texts in the order of `columns`; "" is null."""
        return self.batch(number).rows

    def batch(self, number: int) -> Batch:
        """Batch `number` (from 1) with the positions of its bad rows."""
        cut = self._cuts[number - 1]
        texts = [as_text(self._listings[name][cut.taken]) for name in COLUMNS]
        rows = [list(row) for row in zip(*texts, strict=True)]
        for position, rule in cut.bad.items():
            column, text = BAD_VALUES[rule]
            rows[position][COLUMNS.index(column)] = text
        return Batch(rows, cut.bad)

    def expected_quarantine(self, number: int) -> dict[str, int]:
        """How many rows of batch `number` break each rule of BAD_VALUES."""
        return dict(sorted(Counter(self._cuts[number - 1].bad.values()).items()))

    def best_prediction_log(self, rows: Columns, served: Sequence[int] = BATCHES) -> np.ndarray:
        """The best possible prediction of log price for `rows`, knowing the market; shape (rows,).

        `rows` maps each column of COLUMNS to its values, as texts or numbers (a DataFrame will do): good rows
        only.  `served` are the batches whose distinct rows the model may learn from and is scored on.
        """
        return self._moments(rows, served)[0]

    def best_rmse_log(self, rows: Columns, served: Sequence[int] = BATCHES) -> float:
        """The best possible RMSE of log price on the distinct good `rows`, drawn from the batches `served`.

        See `best_prediction_log` for the arguments and the module's docstring for the derivation.  It is the
        expected value: on n rows the score of the best prediction itself varies around it by about a share
        of 1 / sqrt(2 n).
        """
        return float(np.sqrt(self._moments(rows, served)[1].mean()))

    def _moments(self, rows: Columns, served: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        observed = {
            name: to_float(rows[name]) for name in ("zip_code", "bed", "bath", "acre_lot", "house_size")
        }
        state, city, area = self._places.codes(rows["state"], rows["city"], observed["zip_code"])
        mean = self._places.mean_log_price(state, city, area, observed)
        share = self._shares[:, :, [number - 1 for number in served]].sum(axis=2)  # (bands, states)
        return _weighted_normal(mean, share[:, state])

    @cached_property
    def _shares(self) -> np.ndarray:
        """Probability of each batch for a listing of (price band, state); shape (3, states, batches)."""
        states = self._places.states
        last = _LAST_NEW * FULL_SIZES[-1] / _LISTINGS
        shares = np.zeros((len(CUTS) + 1, len(states), len(BATCHES)))
        first = np.array([STATES[state][3] for state in states])
        shares[0, :, 0], shares[0, :, 1] = first, 1 - first
        shares[1, :, 3] = 1
        small = states.index(_SMALL_STATE)
        shares[1, small, 2], shares[1, small, 3] = 0.065, 0.935
        shares[2, :, 4] = 1
        shares *= 1 - last
        shares[:, :, 5] = last
        return shares

    @cached_property
    def _cuts(self) -> list["_Cut"]:
        """The listings in each batch: new ones, exact copies of them, and copies with one value broken."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 3]))
        batch_of = self._assign(self._listings)
        cuts: list[_Cut] = []
        served: list[np.ndarray] = []
        for number, size in zip(BATCHES, self.sizes, strict=True):
            last = number == BATCHES[-1]
            bad = max(1, round(_BAD * size))
            new = np.flatnonzero(batch_of == number)[: size - bad]
            pool = np.concatenate(served) if last else new
            if len(pool) == 0:
                raise ValueError(
                    f"scale {self.scale} leaves batch {number} without a listing; give a larger one"
                )
            copies = rng.choice(pool, size - bad - len(new), replace=not last)
            broken = rng.choice(pool, bad, replace=bad > len(pool))
            order = rng.permutation(size)
            taken = np.concatenate([new, copies, broken])[order]
            rules = rng.integers(len(BAD_VALUES), size=bad)
            spoilt = np.flatnonzero(order >= size - bad)
            names = list(BAD_VALUES)
            cuts.append(
                _Cut(
                    taken,
                    {int(at): names[rule] for at, rule in zip(spoilt, rules, strict=True)},
                )
            )
            served.append(new)
        return cuts

    @cached_property
    def _listings(self) -> dict[str, np.ndarray]:
        """Every distinct listing of the market, in no order: column → values, numbers with NaN for null."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 2]))
        total = max(60, round(_LISTINGS * self.scale))
        unique = total - round(_RELISTED * total)
        homes = self._places.properties(rng, unique)
        again = rng.choice(unique, total - unique, replace=False)
        index = np.concatenate([np.arange(unique), again])
        listing = {name: values[index] for name, values in homes.items()}
        log_price = listing.pop("mean") + SIGMA * rng.standard_normal(total)
        listing["price"] = np.maximum(np.round(np.exp(log_price) / 100), 10) * 100
        listing["brokered_by"] = rng.integers(84, 110_200, 900)[
            np.minimum((rng.random(total) ** 2 * 900).astype(int), 899)
        ].astype(float)
        listing["status"] = np.where(rng.random(total) < 0.35, "sold", "for_sale").astype(object)
        listing["status"][rng.random(total) < 0.003] = "ready_to_build"
        days = np.datetime64("1985-01-01") + (rng.beta(3, 1.3, total) * 13_500).astype(int)
        listing["prev_sold_date"] = days.astype(str).astype(object)
        listing["prev_sold_date"][rng.random(total) < 0.646] = ""
        return listing

    def _assign(self, listings: dict[str, np.ndarray]) -> np.ndarray:
        """Number of the batch in which each listing is first served."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 4]))
        band = np.searchsorted(np.array(CUTS), listings["price"], side="left")
        cumulative = np.cumsum(self._shares[band, listings["state_code"]], axis=1)
        drawn = rng.random(len(band))[:, None]
        return np.minimum((drawn >= cumulative).sum(axis=1), len(BATCHES) - 1) + 1


@dataclass(frozen=True)
class _Cut:
    """One batch before it is written out: the listing of each row, and the rule that each bad row breaks."""

    taken: np.ndarray
    bad: dict[int, str]


def _weighted_normal(mean: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of N(mean, SIGMA²) reweighted by `weights` (bands, rows) between the price cuts.

    Within a band the moments are those of the truncated normal: mass Φ(b)-Φ(a), first moment φ(a)-φ(b),
    second moment mass + aφ(a) - bφ(b), for a and b in units of SIGMA from the mean.
    """
    edges = np.concatenate([[-np.inf], np.log(CUTS), [np.inf]])
    scaled = (edges[:, None] - mean) / SIGMA
    density = np.exp(-0.5 * scaled**2) / math.sqrt(2 * math.pi)
    below = np.array([[0.5 * math.erfc(-value / math.sqrt(2)) for value in row] for row in scaled])
    tail = np.where(np.isinf(scaled), 0.0, scaled) * density
    mass = (weights * np.diff(below, axis=0)).sum(axis=0)
    first = -(weights * np.diff(density, axis=0)).sum(axis=0)
    second = mass - (weights * np.diff(tail, axis=0)).sum(axis=0)
    # A band of which (almost) nothing was served gives no mass: such a row can't have been served.
    mass = np.maximum(mass, 1e-300)
    centre = first / mass
    return mean + SIGMA * centre, SIGMA**2 * np.maximum(second / mass - centre**2, 0)
