"""Synthetic data in the form of UCI 31 (covertype) as the course serves it: 13 columns, invented patches.

Seven classes, one of them rare; Wilderness_Area and Soil_Type as text; a tenth of each later batch is exact
copies of rows served before.  A class has its own elevations, areas and soils, so that it can be learnt, but
not perfectly.
"""

import numpy as np

from datos.synthetic.table import SyntheticTable, choose

# class: (share, elevation in m: mean and standard deviation, weights of the wilderness areas, first soil)
_CLASSES = {
    "0": (37.5, 3146, 150, {"Rawah": 55, "Commanche": 40, "Neota": 5}, 14),
    "1": (44.0, 2894, 150, {"Commanche": 80, "Cache": 12, "Rawah": 8}, 10),
    "2": (8.2, 2476, 110, {"Cache": 80, "Commanche": 20}, 2),
    "3": (0.25, 2230, 60, {"Cache": 100}, 6),
    "4": (1.8, 2801, 80, {"Commanche": 100}, 8),
    "5": (6.5, 2418, 75, {"Cache": 93, "Commanche": 7}, 0),
    "6": (1.9, 3330, 60, {"Rawah": 70, "Commanche": 25, "Neota": 5}, 17),
}
_SOILS = """
    C2702 C2703 C2704 C2705 C2706 C2717 C5101 C6101 C6102 C4703 C4704 C4758
    C7202 C7700 C7745 C7746 C7755 C7756 C7757 C8771 C8772 C8776
""".split()
_COPIED = 0.10


class Forest(SyntheticTable):
    """Invented patches of forest in the columns of the course's covertype."""

    source = (
        "synthetic data in the form of UCI 31, invented patches; lab data download covertype gets the real"
    )
    columns = tuple(
        """
        Elevation Aspect Slope Horizontal_Distance_To_Hydrology Vertical_Distance_To_Hydrology
        Horizontal_Distance_To_Roadways Hillshade_9am Hillshade_Noon Hillshade_3pm
        Horizontal_Distance_To_Fire_Points Wilderness_Area Soil_Type Cover_Type
        """.split()
    )
    kinds = dict.fromkeys((*columns[:10], "Cover_Type"), int)
    default_rows = 16_000
    most_rows = 581_012

    def draw(self, rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
        """See SyntheticTable."""
        cover = choose(rng, {name: values[0] for name, values in _CLASSES.items()}, rows)
        # The first batch has a few rows of the rare class, so that every class is known from the start.
        cover[rng.integers(0, self.sizes[0], 3)] = "3"
        aspect = rng.integers(0, 361, rows)
        slope = np.clip(np.round(rng.gamma(4, 3.6, rows)), 0, 55)
        water = np.round(rng.gamma(1.5, 170, rows))
        elevation = np.zeros(rows)
        area = np.full(rows, "", dtype=object)
        soil = np.full(rows, "", dtype=object)
        for name, (_, mean, deviation, areas, first) in _CLASSES.items():
            mine = np.flatnonzero(cover == name)
            # Forest grows lower on a shady slope and near water: no straight line separates the classes.
            shady = 110 * np.cos(np.radians(aspect[mine])) * np.minimum(slope[mine] / 12, 1)
            damp = 170 * np.cos(water[mine] / 60)
            elevation[mine] = mean - shady - damp + rng.normal(0, 0.5 * deviation, len(mine))
            area[mine] = choose(rng, areas, len(mine))
            soil[mine] = choose(rng, _soils(first), len(mine))
        angle = np.radians(aspect)
        steep = slope / 55
        table = {
            "Elevation": np.clip(np.round(elevation), 1859, 3858),
            "Aspect": aspect,
            "Slope": slope,
            "Horizontal_Distance_To_Hydrology": water,
            "Vertical_Distance_To_Hydrology": np.round(0.18 * water + rng.normal(0, 25, rows)),
            "Horizontal_Distance_To_Roadways": np.round(
                np.clip(1.6 * (elevation - 2300) + rng.gamma(2, 400, rows), 0, 7117)
            ),
            "Hillshade_9am": _shade(220 + 110 * steep * np.sin(angle), rng),
            "Hillshade_Noon": _shade(236 - 60 * steep - 50 * steep * np.cos(angle), rng),
            "Hillshade_3pm": _shade(143 - 130 * steep * np.sin(angle), rng),
            "Horizontal_Distance_To_Fire_Points": np.round(np.clip(rng.gamma(3.5, 450, rows), 0, 7173)),
            "Wilderness_Area": area,
            "Soil_Type": soil,
            "Cover_Type": cover,
        }
        for batch in range(1, self.batches):
            start, size = self._starts[batch], self.sizes[batch]
            copies = rng.choice(size, round(_COPIED * size), replace=False) + start
            source = rng.integers(0, start, len(copies))
            for values in table.values():
                values[copies] = values[source]
        return {name: v.astype(int) if v.dtype.kind == "f" else v for name, v in table.items()}


def _soils(first: int) -> dict[str, float]:
    """Weights of the soils of one class: its own six fall off, all others are possible but seldom."""
    own = {_SOILS[(first + step) % len(_SOILS)]: 0.6**step for step in range(6)}
    return dict.fromkeys(_SOILS, 0.15) | own


def _shade(value: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.round(np.clip(value + rng.normal(0, 4, len(value)), 0, 254))
