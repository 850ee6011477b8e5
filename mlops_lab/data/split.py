"""Train, validation or test: decided by a stable hash of the row's group, whatever the order of batches."""

import hashlib
import json
from collections.abc import Sequence

import pandas as pd

from mlops_lab.data.rows import rows

SHARES = (("train", 0.6), ("validation", 0.2), ("test", 0.2))


def hashes(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """A digest of the named columns for each row: 32 hexadecimal characters, unsalted, the same on every machine."""
    names = list(columns)
    known: dict[str, str] = {}
    found = []
    for row in rows(frame[names]):
        text = json.dumps(list(row.values()), ensure_ascii=False, default=str)
        if text not in known:
            known[text] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        found.append(known[text])
    return found


def split_of(group_hash: str) -> str:
    """The split of a group: its hash, read as a number in [0, 1), falls into one of the shares."""
    place = int(group_hash[:8], 16) / 2**32
    for name, share in SHARES:
        if place < share:
            return name
        place -= share
    return SHARES[-1][0]
