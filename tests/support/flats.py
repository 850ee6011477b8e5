"""A small use case, as a person might write it, and its data: the rent of flats."""

import random

import pandas as pd

from mlops_lab.data.split import SEALED, hashes, split_of

# A use case of 30 lines.
FLATS = '''
"""The rent of a flat, for tests."""

from mlops_lab import (
    RMSE, Boolean, Category, Date, Integer, Number, PromotionPolicy, RetrainPolicy, UseCase, linear_regression, ridge,
)

USE_CASE = UseCase(
    name="flats",
    title="Rent of a flat",
    dataset="flats",
    target=Number("rent", unit="EUR", minimum=1),
    features=[
        Number("area", "Living area", unit="m²", minimum=5, maximum=500, required=True),
        Integer("floor", minimum=-2, maximum=60),
        Category("district", allow_unknown=True, min_count=5),
        Boolean("balcony"),
        Date("built"),
    ],
    group_key=["area", "floor", "district"],
    candidates=[linear_regression(), ridge()],
    metric=RMSE,
    retrain=RetrainPolicy(min_holdout=20, min_drift_rows=200),
    # Better or equal wins, so that a second training makes a second champion.
    promotion=PromotionPolicy(margin=0, sure=0),
)
'''


def flats(n: int, seed: int = 0, level: float = 10.0) -> list[list]:
    """Rows of the small use case, as lists in its column order; `level`: EUR a square metre."""
    random_ = random.Random(seed)
    rows = []
    for _ in range(n):
        area, floor = round(random_.uniform(20, 150), 1), random_.randint(0, 12)
        district, balcony = random_.choice(["north", "south", "harbour"]), random_.random() < 0.5
        extra = {"north": 0, "south": 80, "harbour": 250}[district] + 60 * balcony + 5 * floor
        rent = round(level * area + extra + random_.gauss(0, 40), 2)
        built = f"{random_.randint(1900, 2020)}-0{random_.randint(1, 9)}-15"
        rows.append([area, floor, district, balcony, built, rent])
    return rows


def batch(number: int, rows: list) -> dict:
    """A payload of the first API variant."""
    return {"group_number": 1, "batch_number": number, "data": rows}


def splits(rows: list[list]) -> list[str]:
    """The split of each row."""
    keys = pd.DataFrame([row[:3] for row in rows], columns=["area", "floor", "district"])
    return [split_of(value) for value in hashes(keys, list(keys.columns))]


def read(rows: list[list]) -> list[list]:
    """The rows that the loop learns from and decides by: all but the sealed ones."""
    return [row for row, split in zip(rows, splits(rows), strict=True) if split != SEALED]
