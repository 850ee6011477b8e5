"""A synthetic housing market with the shape of the real listings, whose best possible score is known.

Columns, null rates, duplicates, relistings and price cuts follow the US realtor listings that the course's Data API
serves; every price is drawn, so the limit that no model can beat is a formula and not a guess.

How a price comes about
    ``log(price) = mean_log_price(observed columns) + SIGMA * e``, with ``e`` standard normal and fresh for each
    listing (a relisted property gets the same mean and new noise).  ``price`` is then rounded to 100 USD, which adds
    less than 1e-6 to the variance.

Nulls hide nothing
    A null is a fact about the property, and the mean is a function of that fact: land has no bed, bath and
    house_size; a flat has no acre_lot; a studio has no bed; a row without zip_code lies outside its city's zip areas
    and has no zip effect; a row without city still has a zip_code, and a zip_code lies in one city.  ``status``,
    ``brokered_by``, ``street`` and ``prev_sold_date`` have no effect on the price.

The best possible score
    Each listing of the market is put into exactly one batch, by a probability that depends on its price band and its
    state only.  Among the listings of the batches served so far, the log price of a row is therefore the normal above,
    weighted in each price band by the share of that band (and state) that was served: a mixture of truncated normals,
    whose mean is the best prediction and whose variance is the least squared error.  With all batches served every
    weight is 1, the cuts cancel out, and the best RMSE of log price is SIGMA itself.  Duplicates and bad rows are
    copies of such listings and must be removed before scoring, as the lab's validation and cleaning do.
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from datos.synthetic.rows import as_text, to_float

COLUMNS = (
    "brokered_by", "status", "price", "bed", "bath", "acre_lot",
    "street", "city", "state", "zip_code", "house_size", "prev_sold_date",
)  # fmt: skip
KINDS = dict.fromkeys(
    (
        "brokered_by",
        "price",
        "bed",
        "bath",
        "acre_lot",
        "street",
        "zip_code",
        "house_size",
    ),
    float,
)
"""Columns that hold numbers, with their type in JSON; the others hold text."""
SIGMA = 0.30
"""Standard deviation of log price that no column explains."""
CUTS = (300_000, 500_000)
"""USD: a price equal to a cut belongs to the band below it."""
DEFAULT_SCALE = 0.04
FULL_SIZES = (140_000, 100_000, 4_055, 190_000, 361_457, 100_000)
"""Rows of each batch at scale 1: a band of two batches up to 300k, two up to 500k, one above, one of old rows."""
BATCHES = tuple(range(1, len(FULL_SIZES) + 1))

_LISTINGS = 605_000  # distinct listings at scale 1; the rest of the rows are copies
_RELISTED = 0.06
_BAD = 0.005
_LAST_NEW = 0.05  # share of the last batch that was not served before
_SMALL_STATE = "Massachusetts"  # the course's smallest batch holds one state only

# state: (share of listings, level of log price, effect of lot size, share of its cheap listings in the first batch)
_STATES = {
    "Massachusetts": (0.34, 0.20, 0.06, 0.75),
    "New York": (0.13, 0.25, 0.05, 0.70),
    "Connecticut": (0.13, 0.00, 0.10, 0.65),
    "New Hampshire": (0.11, -0.10, 0.14, 0.35),
    "Rhode Island": (0.09, 0.05, 0.10, 0.60),
    "Vermont": (0.07, -0.30, 0.18, 0.35),
    "Maine": (0.06, -0.35, 0.20, 0.30),
    "Puerto Rico": (0.07, -0.60, 0.04, 0.60),
}
# state: {city: (weight, level of log price, zip areas)}, and the first zip code of the state
_CITIES = {
    "Massachusetts": (1001, {
        "Boston": (10, 0.60, 8), "Cambridge": (3, 0.75, 2), "Worcester": (5, -0.15, 4), "Springfield": (5, -0.55, 4),
        "Lowell": (2, -0.05, 2), "Quincy": (2, 0.30, 2), "Newton": (2, 0.85, 2), "Pittsfield": (2, -0.60, 1),
        "Plymouth": (2, 0.10, 1), "Fall River": (2, -0.30, 2), "Barnstable": (2, 0.35, 2), "Amherst": (1, -0.05, 1),
    }),
    "New York": (10001, {
        "New York City": (6, 0.85, 5), "Albany": (3, -0.35, 2), "Buffalo": (3, -0.70, 3), "Yonkers": (2, 0.25, 1),
        "Saratoga Springs": (1, 0.00, 1), "Ithaca": (1, -0.20, 1),
    }),
    "Connecticut": (6001, {
        "Stamford": (3, 0.45, 2), "Hartford": (3, -0.40, 2), "New Haven": (3, -0.10, 2), "Bridgeport": (2, -0.15, 2),
        "Greenwich": (2, 1.00, 1), "Waterbury": (2, -0.50, 2),
    }),
    "New Hampshire": (3031, {
        "Manchester": (4, 0.00, 3), "Nashua": (3, 0.10, 2), "Concord": (2, -0.10, 1), "Portsmouth": (2, 0.45, 1),
        "Berlin": (1, -0.90, 1),
    }),
    "Rhode Island": (2801, {
        "Providence": (4, 0.00, 3), "Newport": (2, 0.60, 1), "Warwick": (2, -0.15, 2), "Woonsocket": (2, -0.45, 1),
    }),
    "Vermont": (5001, {
        "Burlington": (3, 0.25, 2), "Rutland": (2, -0.40, 1), "Stowe": (1, 0.70, 1),
    }),
    "Maine": (3901, {
        "Portland": (3, 0.40, 2), "Bangor": (2, -0.30, 1), "Lewiston": (1, -0.35, 1),
    }),
    "Puerto Rico": (601, {
        "San Juan": (4, 0.45, 2), "Ponce": (2, -0.30, 1), "Mayaguez": (1, -0.35, 1), "Dorado": (1, 0.90, 1),
    }),
}  # fmt: skip
_BASE = 13.33

# What is wrong with a bad row: rule: (column, the text that stands there instead)
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

    columns = COLUMNS
    kinds = KINDS
    source = "synthetic housing market"

    def __init__(self, seed: int = 7, scale: float = DEFAULT_SCALE) -> None:
        if not 0.005 <= scale <= 2:
            raise ValueError(f"scale is {scale}; give a number from 0.005 to 2")
        self.seed = seed
        self.scale = scale
        self.sizes = tuple(max(2, round(size * scale)) for size in FULL_SIZES)
        self._places = _Places(seed)

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

    def best_prediction_log(self, rows, served=BATCHES) -> np.ndarray:
        """The best possible prediction of log price for `rows`, knowing the market; shape (rows,).

        `rows` maps each column of COLUMNS to its values, as texts or numbers (a DataFrame will do): good rows only.
        `served` are the batches whose distinct rows the model may learn from and is scored on.
        """
        return self._moments(rows, served)[0]

    def best_rmse_log(self, rows, served=BATCHES) -> float:
        """The best possible RMSE of log price on the distinct good `rows`, drawn from the batches `served`.

        See `best_prediction_log` for the arguments and the module's docstring for the derivation.  It is the expected
        value: on n rows the score of the best prediction itself varies around it by about 1 / sqrt(2 n).
        """
        return float(np.sqrt(self._moments(rows, served)[1].mean()))

    def _moments(self, rows, served) -> tuple[np.ndarray, np.ndarray]:
        observed = {
            name: to_float(rows[name])
            for name in ("zip_code", "bed", "bath", "acre_lot", "house_size")
        }
        state, city, area = self._places.codes(
            rows["state"], rows["city"], observed["zip_code"]
        )
        mean = self._places.mean_log_price(state, city, area, observed)
        share = sum(
            self._shares[:, :, number - 1] for number in served
        )  # (bands, states)
        return _weighted_normal(mean, share[:, state])

    @cached_property
    def _shares(self) -> np.ndarray:
        """Probability that a listing of (price band, state) is put into each batch; shape (3, states, batches)."""
        states = list(_STATES)
        last = _LAST_NEW * FULL_SIZES[-1] / _LISTINGS
        shares = np.zeros((len(CUTS) + 1, len(states), len(BATCHES)))
        first = np.array([_STATES[state][3] for state in states])
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
        """Which listings stand in each batch: new ones, exact copies of them, and copies with one value broken."""
        rng = np.random.Generator(np.random.PCG64([self.seed, 3]))
        batch_of = self._assign(self._listings)
        cuts, served = [], []
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
                    {
                        int(at): names[rule]
                        for at, rule in zip(spoilt, rules, strict=True)
                    },
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
        listing["status"] = np.where(
            rng.random(total) < 0.35, "sold", "for_sale"
        ).astype(object)
        listing["status"][rng.random(total) < 0.003] = "ready_to_build"
        days = np.datetime64("1985-01-01") + (rng.beta(3, 1.3, total) * 13_500).astype(
            int
        )
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


class _Places:
    """States, cities and zip areas with their effects, drawn once from the seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.states = list(_STATES)
        self.cities: list[str] = []
        self.zips: list[float] = []
        city_state, city_level, city_weight, zip_city = [], [], [], []
        for code, state in enumerate(self.states):
            first_zip, cities = _CITIES[state]
            share = _STATES[state][0] / sum(weight for weight, _, _ in cities.values())
            for city, (weight, level, areas) in cities.items():
                self.cities.append(city)
                city_state.append(code)
                city_level.append(_BASE + _STATES[state][1] + level)
                city_weight.append(weight * share)
                zip_city += [len(self.cities) - 1] * areas
                self.zips += [float(first_zip + 3 * n) for n in range(areas)]
                first_zip += 40
        self.city_state = np.array(city_state)
        self.city_level = np.array(city_level)
        self.zip_city = np.array(zip_city)
        areas_of = np.bincount(self.zip_city)
        self.zip_weight = (np.array(city_weight) / areas_of)[
            self.zip_city
        ] * rng.uniform(0.7, 1.3, len(self.zips))
        self.zip_weight /= self.zip_weight.sum()
        # A zip effect sums to about zero within its city; the extra last entry is "no zip area".
        self.zip_effect = np.append(rng.uniform(-0.22, 0.22, len(self.zips)), 0.0)
        self.size_elasticity = np.clip(
            0.70 + 0.25 * self._standing() + rng.normal(0, 0.08, len(self.cities)),
            0.3,
            1.2,
        )
        self.flat_premium = -0.25 + 0.35 * np.maximum(self._standing(), -0.6)

    def _standing(self) -> np.ndarray:
        """How dear each city is within the market; about -1 to 1."""
        return np.clip(self.city_level - _BASE, -1, 1)

    def codes(
        self, state, city, zip_code: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes of state, city and zip area of served rows; a null city is found by its zip, a null zip is -1."""
        zip_codes = {value: code for code, value in enumerate(self.zips)}
        city_codes = {name: code for code, name in enumerate(self.cities)}
        area = np.array([zip_codes.get(value, -1) for value in zip_code])
        town = np.array([city_codes.get(value, -1) for value in city])
        town = np.where(town < 0, self.zip_city[area], town)
        return np.array([self.states.index(value) for value in state]), town, area

    def mean_log_price(
        self, state, city, area, observed: dict[str, np.ndarray]
    ) -> np.ndarray:
        """The mean of log price given everything that a row shows; shape (rows,)."""
        bed, bath, lot, size = (
            observed[name] for name in ("bed", "bath", "acre_lot", "house_size")
        )
        place = self.city_level[city] + self.zip_effect[area]
        lot_effect = np.array([_STATES[name][2] for name in self.states])[state]
        land = np.isnan(size)
        rooms = np.where(np.isnan(bed), 0.5, bed)
        feet = np.where(land, 1800.0, size)
        crowded = np.clip((480 - feet / np.maximum(rooms, 1)) / 300, 0, 1)
        grand = 1 / (1 + np.exp(-(feet - 3600) / 300))
        home = (
            place
            + self.size_elasticity[city] * np.log(feet / 1800)
            + 0.24 * np.tanh((np.nan_to_num(bath, nan=0.5) - 2) / 1.5)
            - 0.30 * crowded
            + 0.30 * grand * self._standing()[city]
            + np.where(
                np.isnan(lot),
                self.flat_premium[city],
                lot_effect * np.log(np.nan_to_num(lot, nan=1) + 0.05),
            )
        )
        # Land is dear where houses are dear, and a second acre adds less than the first.
        plot = (
            _BASE
            - 1.0
            + 1.25 * (place - _BASE)
            + (0.15 + lot_effect) * np.log(np.nan_to_num(lot, nan=1) + 0.2)
        )
        return np.where(land, plot, home)

    def properties(self, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        """`count` properties with what each shows (numbers with NaN for null) and the mean of its log price."""
        area = np.searchsorted(np.cumsum(self.zip_weight), rng.random(count)).clip(
            max=len(self.zips) - 1
        )
        city = self.zip_city[area]
        state = self.city_state[city]
        kind = rng.random(count)
        land, flat = kind < 0.175, (kind >= 0.175) & (kind < 0.393)
        drawn = rng.random(count)
        bed = 1.0 + np.searchsorted([0.05, 0.26, 0.66, 0.90, 0.96, 0.985, 0.995], drawn)
        bed = np.where(flat, 1.0 + np.searchsorted([0.33, 0.80, 0.97], drawn), bed)
        size = np.exp(math.log(620) + 0.32 * bed + 0.30 * rng.standard_normal(count))
        size = np.where(rng.random(count) < 0.01, 2.2 * size, size)
        size = np.round(np.clip(size, 250, 18_000) / 4) * 4
        bath = np.clip(
            np.round(0.3 + 0.35 * bed + size / 2600 + 0.5 * rng.standard_normal(count)),
            1,
            12,
        )
        rural = np.array([_STATES[name][2] for name in self.states])[state]
        lot = np.exp(np.log(0.12 + 1.5 * rural) + 0.9 * rng.standard_normal(count))
        lot = np.round(np.where(land, 4 * lot, lot).clip(0.01, 900), 2)
        bed[land | (~land & flat & (rng.random(count) < 0.04))] = (
            np.nan
        )  # land; studios
        bath[land | (rng.random(count) < 0.006)] = np.nan
        size[land] = np.nan
        lot[flat] = np.nan
        no_city, no_zip = rng.random(count) < 0.0003, rng.random(count) < 0.0005
        zip_area = np.where(no_zip & ~no_city, -1, area)
        shown = {"bed": bed, "bath": bath, "acre_lot": lot, "house_size": size}
        return {
            **shown,
            "mean": self.mean_log_price(state, city, zip_area, shown),
            "state_code": state,
            "state": np.array(self.states, dtype=object)[state],
            "city": np.where(no_city, "", np.array(self.cities, dtype=object)[city]),
            "zip_code": np.where(zip_area < 0, np.nan, np.array(self.zips)[area]),
            "street": rng.integers(6_000, 1_840_000, count).astype(float),
        }


def _weighted_normal(
    mean: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of N(mean, SIGMA²) reweighted by `weights` (bands, rows) between the price cuts.

    Within a band the moments are those of the truncated normal: mass Φ(b)-Φ(a), first moment φ(a)-φ(b), second moment
    mass + aφ(a) - bφ(b), for a and b in units of SIGMA from the mean.
    """
    edges = np.concatenate([[-np.inf], np.log(CUTS), [np.inf]])
    scaled = (edges[:, None] - mean) / SIGMA
    density = np.exp(-0.5 * scaled**2) / math.sqrt(2 * math.pi)
    below = np.array(
        [[0.5 * math.erfc(-value / math.sqrt(2)) for value in row] for row in scaled]
    )
    tail = np.where(np.isinf(scaled), 0.0, scaled) * density
    mass = (weights * np.diff(below, axis=0)).sum(axis=0)
    first = -(weights * np.diff(density, axis=0)).sum(axis=0)
    second = mass - (weights * np.diff(tail, axis=0)).sum(axis=0)
    # A band of which (almost) nothing was served gives no mass: such a row can't have been served.
    mass = np.maximum(mass, 1e-300)
    centre = first / mass
    return mean + SIGMA * centre, SIGMA**2 * np.maximum(second / mass - centre**2, 0)
