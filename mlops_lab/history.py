"""Which of the stored rows a training reads, as a use case declares it, and which rows a model comes from.

Pure pydantic. docs/decisions.md says when to bound the history.
"""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class HistoryPolicy(BaseModel):
    """The rows that a training reads: to learn from, and to score its candidates on. All stored rows by default.

    batches: those of the newest so many batches alone.
    rows:    at most so many; the memory of a training then doesn't grow with the history.
    choose:  which ones, when there are more: the `newest`, which arrived last; or a `sample`: all rows of some groups,
             chosen by a hash of the group, so that the same groups stay in it while they fit.

    The use case's file decides; the contract keeps what its model was trained under. A promotion compares on all test
    rows, whatever a training reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batches: int | None = Field(None, ge=1)
    rows: int | None = Field(None, ge=100)
    choose: Literal["newest", "sample"] = "newest"

    def __str__(self) -> str:
        """In words, such as `at most 50,000 rows, the newest, of the newest 3 batches`."""
        how = {"newest": "the newest", "sample": "a sample of the groups"}[self.choose]
        rows = "all rows" if self.rows is None else f"at most {self.rows:,} rows, {how}"
        if self.batches is None:
            return rows
        newest = "batch" if self.batches == 1 else f"{self.batches:,} batches"
        return f"{rows}, of the newest {newest}"


class Lineage(BaseModel):
    """The origin of a model. It leads from a prediction back to the stored payloads."""

    run_id: str
    candidate: str
    batches: list[int] = Field(
        description="ids in the batch ledger of RawData of the batches that it could read"
    )
    rows: dict[str, int] = Field(description="number of rows by split: train, validation, test")
    learnt: list[str] = Field(
        ["train"], description="the splits that it learnt from; an earlier release learnt from train alone"
    )
    split_day: str | None = Field(None, description="the date by which the rows were split; None: by a hash")
    created_at: datetime
    commit: str | None = None
    history: HistoryPolicy = Field(
        HistoryPolicy(), description="which of the stored rows it read; an earlier release read all of them"
    )
    left_out: dict[str, int] = Field(
        default_factory=dict, description="number of stored rows that it didn't read, by split"
    )
    unread: list[int] = Field(default_factory=list, description="those of `batches` of which it read no row")
    digest: str | None = Field(None, description="sha256 of the rows; None in a model of an earlier release")
    libraries: dict[str, str] = Field(
        default_factory=dict,
        description="the versions of Python and of the libraries that the model comes from",
    )
    cpu_seconds: float | None = Field(None, description="of the training, of all threads")
    peak_mb: float | None = Field(
        None, description="the most memory that the training process had until then"
    )

    @property
    def learnt_rows(self) -> int:
        """The number of rows that the model learnt from."""
        return sum(self.rows.get(split, 0) for split in self.learnt)

    @property
    def read_batches(self) -> list[int]:
        """Ids of the batches of which it read rows."""
        return [number for number in self.batches if number not in self.unread]

    @property
    def left_out_words(self) -> str:
        """Which rows it read, where it didn't read all that were stored; else empty."""
        if not (out := sum(self.left_out.values())):
            return ""
        return (
            f"It read {self.history}: {out:,} of {out + sum(self.rows.values()):,} stored rows were left out."
        )
