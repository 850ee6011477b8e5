"""Completes a contract from the training rows: vocabularies, an example, reference histograms, background rows."""

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, ModelError
from mlops_lab.features import Boolean, Category, Date, Feature, Integer
from mlops_lab.model.drift import reference
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    from mlops_lab.model.dask_rows import DaskRows

BACKGROUND_ROWS = 50
# The example is built from at least this many rows, or 1 % of them, so that it never reproduces one real row.
EXAMPLE_MIN_ROWS = 20


class Columns(Protocol):
    """The columns of some rows by name: a frame, or what reads them one at a time."""

    def __len__(self) -> int: ...

    def __getitem__(self, name: str, /) -> pd.Series: ...


def fit_contract(use_case: UseCase, training: Columns) -> Contract:
    """The use case's contract with the vocabularies of its categories and an example, both from the training rows.

    training: typed rows, with features and target. Raises `ModelError` when the example breaks the contract.
    """
    features = _fit_features(use_case.features, training)
    typical = _typical(use_case.target, training[use_case.target.name])
    contract = Contract(
        use_case=use_case.name,
        title=use_case.title,
        description=use_case.description,
        task=use_case.task,
        target=use_case.target.model_copy(update={"example": typical}),
        features=features,
        missing=list(use_case.missing),
        classes=use_case.classes,
        metric=use_case.metric.name,
        greater_is_better=use_case.metric.greater_is_better,
        retrain=use_case.retrain,
        promotion=use_case.promotion,
    )
    try:
        contract.read([contract.example])
    except ContractError as error:
        raise ModelError(f"{use_case.name}: the example breaks the declared features: {error}") from error
    return contract


def describe(contract: Contract, matrix: "np.ndarray | DaskRows", truth: np.ndarray, seed: int) -> Contract:
    """Adds the reference histograms for drift, and the background rows for explanations.

    matrix: encoded training rows, float32 (n, features). truth: their encoded target, (n,).
    """
    categories = set(contract.categories())
    sample = np.random.default_rng(seed).choice(len(matrix), min(BACKGROUND_ROWS, len(matrix)), replace=False)
    background = matrix[np.sort(sample)]
    return contract.model_copy(
        update={
            "reference": {
                feature.name: reference(matrix[:, index], index in categories)
                for index, feature in enumerate(contract.features)
            },
            "target_reference": {
                "mean": float(truth.mean()),
                "std": float(truth.std()),
                "p10": float(np.quantile(truth, 0.1)),
                "p90": float(np.quantile(truth, 0.9)),
            },
            "background": [[None if np.isnan(v) else float(v) for v in row] for row in background],
        }
    )


def _fit_features(features: Sequence[Feature], training: Columns) -> list[Feature]:
    """The features with vocabulary and example.

    Each value of the example is the most typical one of the rows that have the values before it, as long as there are
    enough of them: a city of the example's state, a zip code of its city.
    """
    fitted = []
    # The positions of the rows that have the example's values so far.
    similar, enough = np.arange(len(training)), max(EXAMPLE_MIN_ROWS, len(training) // 100)
    for feature in features:
        column = training[feature.name]
        of_similar = column.iloc[similar]
        example = feature.example
        if example is None:
            example = _typical(feature, of_similar if of_similar.notna().any() else column)
        update: dict[str, Any] = {"example": example}
        if isinstance(feature, Category):
            update |= _fit_category(feature, column)
            same = of_similar.isna() if example is None else of_similar == example
            closer = similar[same.to_numpy(dtype=bool, na_value=False)]
            similar = closer if len(closer) >= enough else similar
        fitted.append(feature.model_copy(update=update))
    return fitted


def _fit_category(feature: Category, column: pd.Series) -> dict[str, Any]:
    """The vocabulary: the most frequent values first, equally frequent ones by name."""
    counts: Counter[str] = Counter()
    for value, count in _counts(column).items():
        if mapped := feature.mapped(value):
            counts[mapped] += count
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    frequent = [value for value in ranked if counts[value] >= feature.min_count]
    fitted = {"vocabulary": frequent[: feature.max_categories]}
    if not feature.allow_unknown and not feature.allowed and not feature.mapping:
        fitted["allowed"] = ranked
    return fitted


def _typical(feature: Feature, column: pd.Series) -> Any:
    """The most frequent value, or the median, as a JSON type; None when every value is missing."""
    present = column.dropna()
    if present.empty:
        return None
    if isinstance(feature, Category | Boolean):
        counts = _counts(present)
        return min(counts, key=lambda value: (-counts[value], str(value)))
    if isinstance(feature, Date):
        places, days = pd.factorize(present)
        middle = int(np.median(np.array([day.toordinal() for day in days])[places]))
        return str(date.fromordinal(middle))
    middle = float(np.median(present.to_numpy(dtype=np.float64)))
    return round(middle) if isinstance(feature, Integer) else float(f"{middle:.6g}")


def _counts(column: pd.Series) -> dict[Any, int]:
    """How many rows have each value that is there, by the value as a plain type."""
    found = column.value_counts(sort=False)
    return {value: count for value, count in zip(found.index.tolist(), found.tolist(), strict=True) if count}
