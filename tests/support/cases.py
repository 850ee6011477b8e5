"""Small use cases of each task, with raw rows that have a known signal, and the pipeline's way to clean rows."""

import math
import random
import shutil
from pathlib import Path

import pandas as pd

from mlops_lab.candidates import linear_regression, logistic_regression
from mlops_lab.data.payload import RawBatch
from mlops_lab.data.prepare import prepare
from mlops_lab.data.split import with_split
from mlops_lab.data.validate import validate
from mlops_lab.features import Boolean, Category, Date, Integer, Number
from mlops_lab.metrics import ACCURACY, RMSE_LOG, ROC_AUC
from mlops_lab.settings import REPOSITORY
from mlops_lab.use_case import UseCase

FEATURES = [
    Number("area", "Living area", unit="m²", minimum=0),
    Integer("floor"),
    Boolean("balcony"),
    Date("built"),
    Category("district", allow_unknown=True, min_count=5),
    Category("heating", allowed=["gas", "wood", "none at all"]),
]
TARGETS = {
    "regression": (Number("rent", unit="EUR", minimum=0), RMSE_LOG),
    "binary": (Boolean("let"), ROC_AUC),
    "multiclass": (Category("kind", allowed=["flat", "house", "hut", "castle"]), ACCURACY),
}


def small_case(task: str, candidates=None, **values) -> UseCase:
    target, metric = TARGETS[task]
    values = {"features": FEATURES, "metric": metric} | values
    return UseCase(
        name=f"small_{task}",
        title="A small use case",
        dataset="small",
        target=target,
        candidates=candidates or [linear_regression() if task == "regression" else logistic_regression()],
        **values,
    )


def small_rows(n: int = 1200, seed: int = 0) -> list[dict]:
    """Raw rows with every target; a tenth of most values is missing; nobody lives in a castle."""
    chance = random.Random(seed)
    rows = []
    for _ in range(n):
        area, floor = round(chance.uniform(10, 200), 2), chance.randint(0, 9)
        balcony, district = chance.random() < 0.4, min(int(chance.expovariate(0.2)), 40)
        heating = chance.choice(["gas", "gas", "wood", "none at all"])
        level = (
            0.8 * math.log(area)
            + 0.03 * floor
            + 0.2 * balcony
            + 0.05 * (district % 7)
            - 0.3 * (heating == "wood")
        )
        rent = math.exp(4 + level + chance.gauss(0, 0.1))
        row = {
            "area": str(area),
            "floor": str(floor),
            "balcony": "true" if balcony else "false",
            "built": f"{chance.randint(1900, 2020)}-0{chance.randint(1, 9)}-15",
            "district": f"d{district}",
            "heating": heating,
        }
        row |= {name: None for name in row if chance.random() < 0.1}
        odds = 2.5 * (level - 3.9)
        kind = "hut" if area < 35 else "house" if level > 4 else "flat"
        rows.append(
            row | {"rent": rent, "let": chance.random() < 1 / (1 + math.exp(-odds + 1.5)), "kind": kind}
        )
    return rows


def clean_rows(use_case: UseCase, raw: list[dict]) -> pd.DataFrame:
    """Raw rows through the pipeline's own functions: validated, prepared, each distinct row once."""
    typed = validate(RawBatch(1, raw, list(range(len(raw))), [], []), use_case).typed
    return prepare(use_case, with_split(use_case, typed)).frame.drop_duplicates("row_hash")


def copy_quick(folder: Path) -> None:
    """A copy of the repository's use cases. Housing trains the first two of its candidates, the quickest."""
    shutil.copytree(REPOSITORY / "use_cases", folder, ignore=shutil.ignore_patterns("__pycache__"))
    housing = (folder / "housing.py").read_text()
    before, after = housing.split("        random_forest(", 1)
    (folder / "housing.py").write_text(before + after[after.index("    ],\n    metric") :])
