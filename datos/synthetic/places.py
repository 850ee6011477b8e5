"""States, cities and zip areas of the synthetic market, the properties in them, and what each is worth."""

import math
from collections.abc import Iterable

import numpy as np

# state: (share of listings, level of log price, effect of lot size, share of its cheap listings that
# the first batch holds)
STATES = {
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
        "Boston": (10, 0.60, 8), "Cambridge": (3, 0.75, 2), "Worcester": (5, -0.15, 4),
        "Springfield": (5, -0.55, 4), "Lowell": (2, -0.05, 2), "Quincy": (2, 0.30, 2),
        "Newton": (2, 0.85, 2), "Pittsfield": (2, -0.60, 1), "Plymouth": (2, 0.10, 1),
        "Fall River": (2, -0.30, 2), "Barnstable": (2, 0.35, 2), "Amherst": (1, -0.05, 1),
    }),
    "New York": (10001, {
        "New York City": (6, 0.85, 5), "Albany": (3, -0.35, 2), "Buffalo": (3, -0.70, 3),
        "Yonkers": (2, 0.25, 1), "Saratoga Springs": (1, 0.00, 1), "Ithaca": (1, -0.20, 1),
    }),
    "Connecticut": (6001, {
        "Stamford": (3, 0.45, 2), "Hartford": (3, -0.40, 2), "New Haven": (3, -0.10, 2),
        "Bridgeport": (2, -0.15, 2), "Greenwich": (2, 1.00, 1), "Waterbury": (2, -0.50, 2),
    }),
    "New Hampshire": (3031, {
        "Manchester": (4, 0.00, 3), "Nashua": (3, 0.10, 2), "Concord": (2, -0.10, 1),
        "Portsmouth": (2, 0.45, 1), "Berlin": (1, -0.90, 1),
    }),
    "Rhode Island": (2801, {
        "Providence": (4, 0.00, 3), "Newport": (2, 0.60, 1), "Warwick": (2, -0.15, 2),
        "Woonsocket": (2, -0.45, 1),
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


class Places:
    """States, cities and zip areas with their effects, drawn once from the seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self.states = list(STATES)
        self.cities: list[str] = []
        self.zips: list[float] = []
        city_state: list[int] = []
        city_level: list[float] = []
        city_weight: list[float] = []
        zip_city: list[int] = []
        for code, state in enumerate(self.states):
            first_zip, cities = _CITIES[state]
            share = STATES[state][0] / sum(weight for weight, _, _ in cities.values())
            for city, (weight, level, areas) in cities.items():
                self.cities.append(city)
                city_state.append(code)
                city_level.append(_BASE + STATES[state][1] + level)
                city_weight.append(weight * share)
                zip_city += [len(self.cities) - 1] * areas
                self.zips += [float(first_zip + 3 * n) for n in range(areas)]
                first_zip += 40
        self.city_state = np.array(city_state)
        self.city_level = np.array(city_level)
        self.zip_city = np.array(zip_city)
        areas_of = np.bincount(self.zip_city)
        self.zip_weight = (np.array(city_weight) / areas_of)[self.zip_city] * rng.uniform(
            0.7, 1.3, len(self.zips)
        )
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
        self, state: Iterable[str], city: Iterable[str], zip_code: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes of state, city and zip area of rows; a null city is found by its zip, a null zip is -1."""
        zip_codes = {value: code for code, value in enumerate(self.zips)}
        city_codes = {name: code for code, name in enumerate(self.cities)}
        area = np.array([zip_codes.get(value, -1) for value in zip_code])
        town = np.array([city_codes.get(value, -1) for value in city])
        town = np.where(town < 0, self.zip_city[area], town)
        return np.array([self.states.index(value) for value in state]), town, area

    def mean_log_price(
        self, state: np.ndarray, city: np.ndarray, area: np.ndarray, observed: dict[str, np.ndarray]
    ) -> np.ndarray:
        """The mean of log price given everything that a row shows; shape (rows,)."""
        bed, bath, lot, size = (observed[name] for name in ("bed", "bath", "acre_lot", "house_size"))
        place = self.city_level[city] + self.zip_effect[area]
        lot_effect = np.array([STATES[name][2] for name in self.states])[state]
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
        """`count` properties: what each shows (NaN for a null number) and the mean of its log price."""
        area = np.searchsorted(np.cumsum(self.zip_weight), rng.random(count)).clip(max=len(self.zips) - 1)
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
        rural = np.array([STATES[name][2] for name in self.states])[state]
        lot = np.exp(np.log(0.12 + 1.5 * rural) + 0.9 * rng.standard_normal(count))
        lot = np.round(np.where(land, 4 * lot, lot).clip(0.01, 900), 2)
        bed[land | (~land & flat & (rng.random(count) < 0.04))] = np.nan  # land; studios
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
