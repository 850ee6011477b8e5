"""The rows that a batch's candidates learn from, encoded, with what their lineage says of them."""

from dataclasses import dataclass

from mlops_lab.data.history import History
from mlops_lab.model.encoded_rows import EncodedRows, encode_rows
from mlops_lab.model.lineage import Provenance, provenance
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class TrainingRows:
    """Rows without their frame, which takes many times as much memory."""

    encoded: EncodedRows
    origin: Provenance


def training_rows(use_case: UseCase, found: History) -> TrainingRows:
    """found: read by the use case's policy. Raises `ModelError` as `encode_rows` does."""
    return TrainingRows(encode_rows(use_case, found.frame), provenance(use_case, found))
