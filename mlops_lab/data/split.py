"""The split of a row: computed from a stable hash of its group, so the batches' order has no effect."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops_lab.data.rows import as_json
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd

# What the loop learns from and decides by, and a last part that no training and no decision reads: it is scored once
# for each champion (`mlops_lab/steps/sealed.py`). Earlier releases stored these last rows as test rows, so the shares
# before `sealed` must keep their places.
SEALED = "sealed"
SHARES = (("train", 0.6), ("validation", 0.2), ("test", 0.15), (SEALED, 0.05))
SPLITS = tuple(split for split, _ in SHARES if split != SEALED)
# A registered model has learnt from these.
LEARNT = ("train", "validation")


def hashes(frame: "pd.DataFrame", columns: Sequence[str]) -> list[str]:
    """A digest of the named columns for each row: 32 hexadecimal characters, unsalted, the same on every machine.

    It is BLAKE2b of the row's values as a JSON list: the splits of every lab depend on the text of `as_json`.
    """
    texts = zip(*(as_json(frame[name]) for name in columns), strict=True)
    digest = hashlib.blake2b
    return [digest(f"[{', '.join(row)}]".encode(), digest_size=16).hexdigest() for row in texts]


def with_split(use_case: UseCase, typed: "pd.DataFrame") -> "pd.DataFrame":
    """Typed rows with the columns `group_hash` and `split`. Equal groups have equal hashes in every batch.

    The hash is of the group key; without a group key, of the whole row.
    """
    import pandas as pd

    row = [feature.name for feature in use_case.features]
    if not use_case.derived_target:
        row.append(use_case.target.name)
    groups = pd.Series(hashes(typed, use_case.group_key or row), index=typed.index, dtype="object")
    return typed.assign(group_hash=groups, split=groups.map(split_of).astype("object"))


def split_of(group_hash: str) -> str:
    """The split of a group: its hash, read as a number in [0, 1), falls into one of the shares."""
    position = int(group_hash[:8], 16) / 2**32
    for name, share in SHARES:
        if position < share:
            return name
        position -= share
    return SHARES[-1][0]
