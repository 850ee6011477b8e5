"""Typed rows become clean rows: the way from RawData to CleanData, without a database."""

from dataclasses import dataclass

import pandas as pd

from mlops_lab.data.split import hashes
from mlops_lab.errors import LabError
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Prepared:
    """The clean rows of a batch.

    frame:   features, target, row_hash, group_hash, split; index: the row's position in the payload.
             Rows with the same row_hash are equal in every feature and in the target.
    dropped: rows that cleaning removed, and rows without a target.
    """

    frame: pd.DataFrame
    dropped: int


def prepare(use_case: UseCase, typed: pd.DataFrame) -> Prepared:
    """Cleans typed rows (one column for each raw column, group_hash, split) by the use case's function.

    A row keeps its group and its split. Raises `LabError` when the use case's function loses a column or the index.
    """
    target = use_case.target.name
    names = [*(feature.name for feature in use_case.features), target]
    clean = use_case.clean(typed[[column.name for column in use_case.columns]].copy())
    if missing := [name for name in names if name not in clean.columns]:
        raise LabError(
            f"the clean function of {use_case.name} doesn't return the columns: {', '.join(missing)}"
        )
    if not clean.index.isin(typed.index).all():
        raise LabError(
            f"the clean function of {use_case.name} changes the frame's index; it must keep the index"
        )
    clean = clean.loc[clean[target].notna(), names]
    groups = typed.loc[clean.index, ["group_hash", "split"]]
    frame = clean.assign(
        row_hash=hashes(clean, names), group_hash=groups["group_hash"], split=groups["split"]
    )
    return Prepared(frame, dropped=len(typed) - len(frame))
