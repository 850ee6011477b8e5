"""The rows that a batch's candidates learn from, encoded, with what their lineage says of them."""

from collections.abc import Collection
from dataclasses import dataclass

from mlops_lab.data.history import read_history
from mlops_lab.data.snapshots import Snapshots
from mlops_lab.free_memory import release
from mlops_lab.model.encoded_rows import EncodedRows, encode_rows
from mlops_lab.model.lineage import Provenance, provenance
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class TrainingRows:
    """Rows without their frame, which takes many times as much memory. words: which of the stored ones they are."""

    encoded: EncodedRows
    origin: Provenance
    words: str = ""


def training_rows(
    snapshots: Snapshots, use_case: UseCase, *, until: int | None = None, only: Collection[int] | None = None
) -> TrainingRows:
    """The rows that the use case's policy lets a training read. until, only: as in `read_history`.

    Raises `ModelError` as `read_history` and `encode_rows` do.
    """
    found = read_history(snapshots, use_case, until=until, only=only)
    rows = TrainingRows(encode_rows(use_case, found.frame), provenance(use_case, found), found.words)
    del found
    release()
    return rows
