"""The rows of a training as arrays, encoded once for all candidates; their frame isn't needed any more then."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mlops_lab.contract import Contract
from mlops_lab.data.rows import texts
from mlops_lab.data.split import LEARNT, SPLITS
from mlops_lab.errors import ModelError
from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.fit_contract import describe, fit_contract
from mlops_lab.use_case import UseCase

# An array for each split: encoded rows, ground truth, or outputs.
Parts = dict[str, np.ndarray]


@dataclass(frozen=True)
class EncodedRows:
    """What candidates learn from and are scored on. No array is changed after it is made.

    contract: fitted on the training rows, without scores.
    x, y:     of all rows, split by split in the order of `SPLITS`: float32 (n, features), and ground truth (n,).
    sizes:    the number of rows of each split.
    groups:   of the validation and of the test rows, the group of each as a number, (n,); in the order of the hashes.
    slices:   feature → the value of each test row as a text, (n,); of the features that the promotion policy names.
    seed:     of the background rows in the contract.
    """

    contract: Contract
    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    sizes: dict[str, int]
    groups: Parts = field(repr=False)
    slices: Parts = field(repr=False)
    seed: int = 0

    @property
    def engine(self) -> dict[str, str]:
        """What decides, beside the libraries, which model comes out: nothing for a training in this process."""
        return {}

    @property
    def learnt(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the rows that a registered model learns from, which are the first ones. No copies."""
        end = sum(self.sizes[split] for split in LEARNT)
        return self.x[:end], self.y[:end]

    @property
    def unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the rows that the first fit doesn't learn from: those that validate, then those that test."""
        return self.x[self.sizes["train"] :], self.y[self.sizes["train"] :]

    def parts(self, whole: np.ndarray) -> Parts:
        """The part of each split, of `x`, of `y` or of what else has a place for each row. No copies."""
        ends = np.cumsum([self.sizes[split] for split in SPLITS])[:-1]
        return dict(zip(SPLITS, np.split(whole, ends), strict=True))


def encode_rows(use_case: UseCase, frame: pd.DataFrame, seed: int = 0) -> EncodedRows:
    """The rows as arrays, with the contract that encodes them.

    frame: rows of CleanData: features and target, typed, `split` (train, validation or test) and, where rows belong
    together, `group_hash`.
    Raises `ModelError` when a split has too few rows, or when there is nothing to learn.
    """
    at = {split: np.flatnonzero(frame["split"] == split) for split in SPLITS}
    refuse_too_few(use_case, {split: len(found) for split, found in at.items()})
    target = use_case.target.name
    names = [*(feature.name for feature in use_case.features), target]
    contract = fit_contract(use_case, pd.DataFrame(frame[names].iloc[at["train"]]))
    order = np.concatenate([at[split] for split in SPLITS])
    x, y = encode_frame(contract, frame, order), contract.encode_target(frame[target])[order]
    train = len(at["train"])
    refuse_one_value(use_case, y[:train])
    return EncodedRows(
        contract=describe(contract, x[:train], y[:train], seed),
        x=x,
        y=y,
        sizes={split: len(found) for split, found in at.items()},
        groups={split: group_numbers(frame, at[split]) for split in ("validation", "test")},
        slices={name: texts(frame[name].iloc[at["test"]]) for name in use_case.promotion.slices},
        seed=seed,
    )


def refuse_too_few(use_case: UseCase, sizes: dict[str, int]) -> None:
    """Raises `ModelError` when a split that is learnt from has no rows; sizes: rows by split."""
    for split in LEARNT:
        if not sizes[split]:
            raise ModelError(f"{use_case.name}: there are no {split} rows yet; it takes more data")


def refuse_one_value(use_case: UseCase, truth: np.ndarray) -> None:
    """Raises `ModelError` when the training rows' target (n,) is always the same."""
    if len(np.unique(truth)) < 2:
        raise ModelError(
            f"{use_case.name}: all training rows have the same {use_case.target.name}; nothing to learn"
        )


def group_numbers(frame: pd.DataFrame, at: np.ndarray) -> np.ndarray:
    """The groups of the rows at these positions as numbers; without the column, each row is a group."""
    if "group_hash" not in frame:
        return np.arange(len(at))
    return pd.factorize(frame["group_hash"].iloc[at].to_numpy(dtype=object), sort=True)[0]
