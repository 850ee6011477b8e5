"""Snapshots: the clean rows of each batch as one Parquet object in the bucket, which everything that learns reads.

A snapshot is a copy of the batch's rows in CleanData. The ledger has its path and the sha256 of its bytes. One that is
missing or has other bytes isn't used: it is made again from CleanData. So is the one of a batch that an earlier
release prepared, when it is first read.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import compute, parquet
from sqlalchemy.exc import DBAPIError

from mlops_lab import features
from mlops_lab.data import by_day, clean_rows
from mlops_lab.data.artifacts import ArtifactError, Artifacts
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.split import SEALED
from mlops_lab.data.store import Store
from mlops_lab.data.tables import Batch
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd

# Its functions are made when it is imported, so that a type checker knows none of them.
pc: Any = compute
# Rows that a reader decodes at once, before it leaves out those that it was not asked for.
GROUP = 100_000
# A column of a frame that isn't in a snapshot: it is the same for all of its rows.
BATCH = "batch_id"


class Snapshots:
    """Writes and reads the snapshots. progress: is called with a line for each one that is made again."""

    def __init__(self, store: Store, ledger: Ledger, artifacts: Artifacts, progress: Callable[[str], None]):
        self._store = store
        self._ledger = ledger
        self._artifacts = artifacts
        self._progress = progress

    def write(self, use_case: UseCase, batch_id: int, rows: pa.Table) -> dict[str, str]:
        """Stores the rows (`clean_rows.schema`) as an object; returns what the ledger keeps of it.

        The object is in use only when the ledger names it. Raises `ArtifactError` when it can't be stored.
        """
        sink = pa.BufferOutputStream()
        parquet.write_table(rows, sink, compression="zstd", row_group_size=GROUP)
        content = sink.getvalue().to_pybytes()
        digest = sha256(content).hexdigest()
        path = f"{_folder(use_case)}/{batch_id}-{digest[:12]}.parquet"
        self._artifacts.put(path, content)
        return {"snapshot": path, "snapshot_digest": digest}

    def keep(self, use_case: UseCase, batch: Batch) -> None:
        """Removes all other snapshots of the batch, and what a killed process left half-written."""
        folder = _folder(use_case)
        self._artifacts.delete_parts(folder)
        for path in self._artifacts.list(folder):
            if path.startswith(f"{folder}/{batch.id}-") and path != batch.snapshot:
                self._artifacts.delete_object(path)

    def reset(self, use_case: UseCase) -> None:
        """Removes all snapshots of the use case."""
        self._artifacts.delete(_folder(use_case))

    def read(
        self,
        use_case: UseCase,
        *,
        split: str | None = None,
        after: int = 0,
        until: int | None = None,
        only: Collection[int] | None = None,
        without: Collection[int] = (),
        columns: Sequence[str] | None = None,
        keep: Callable[[pa.Table], pa.Array] | None = None,
    ) -> "pd.DataFrame":
        """The clean rows of the batches with after < id <= until, oldest first; split: only that split's rows.

        only: of these batches alone. without: of these batches none.
        The sealed rows come only with `split="sealed"`, and then without those of a group of which an earlier release
        stored test rows: promotions have read them.
        columns: of the frame, by default features, target, split, batch_id, row_hash, group_hash. A column that a
        snapshot doesn't have, because it was declared later, has no value there.
        keep: says of a table with the column group_hash, for each row, whether it is read; None: each one is.
        Only these columns are read, one group of rows of one snapshot at a time.
        """
        names = list(columns) if columns is not None else _all_columns(use_case)
        # The groups of sealed rows are looked at once more.
        kept = list(dict.fromkeys([*names, "group_hash"])) if split == SEALED else names
        parts = self.parts(
            use_case,
            split=split,
            after=after,
            until=until,
            only=only,
            without=without,
            columns=kept,
            keep=keep,
        )
        table = pa.concat_tables([_empty(use_case, kept), *parts])
        if split == SEALED:
            table = self._unread(use_case, self._stored(use_case), table)
        return _frame(_numbers(use_case), table.select(names))

    def parts(
        self,
        use_case: UseCase,
        *,
        split: str | None = None,
        after: int = 0,
        until: int | None = None,
        only: Collection[int] | None = None,
        without: Collection[int] = (),
        columns: Sequence[str],
        keep: Callable[[pa.Table], pa.Array] | None = None,
    ) -> Iterator[pa.Table]:
        """The same rows as tables, one for each group of rows of a snapshot; all rows of sealed groups among them."""
        counted = self._stored(use_case, until, only)
        parts = _Parts(use_case, self._days(use_case, counted), split, columns, keep)
        for batch in counted:
            if batch.id > after and batch.id not in without:
                for group in self._columns(use_case, batch, parts.needed):
                    yield parts.rows(group, batch.id)

    def frames(
        self, use_case: UseCase, *, until: int | None = None, only: Collection[int] | None = None
    ) -> Iterator["pd.DataFrame"]:
        """The rows of `read`, with its columns, in its order, some at a time."""
        for part in self.parts(use_case, until=until, only=only, columns=_all_columns(use_case)):
            yield _frame(_numbers(use_case), part)

    def pieces(
        self, use_case: UseCase, *, until: int | None = None, only: Collection[int] | None = None
    ) -> list["Piece"]:
        """The same rows, features, target and split, for processes that read them from the bucket themselves.

        Each snapshot is there and whole when this returns.
        """
        batches = self._stored(use_case, until, only)
        names = [*(column.name for column in (*use_case.features, use_case.target)), "split"]
        chosen = _Parts(use_case, self._days(use_case, batches), None, names, None)
        found: list[Piece] = []
        for batch in batches:
            file = parquet.ParquetFile(pa.BufferReader(self._content(use_case, batch)))
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                place = (str(batch.snapshot), str(batch.snapshot_digest), batch.id, group, rows)
                found.append(Piece(*place, chosen, clean_rows.schema(use_case), _numbers(use_case)))
        return found

    def targets_by_split(self, use_case: UseCase, until: int) -> dict[str, tuple[int, int]]:
        """By split: the numbers of clean rows and of distinct values of the target, in the batches with id <= until."""
        target = use_case.target.name
        found = self.read(use_case, until=until, columns=[target, "split"]).groupby("split")[target]
        return {str(split): (len(values), values.nunique()) for split, values in found}

    def _stored(
        self, use_case: UseCase, until: int | None = None, only: Collection[int] | None = None
    ) -> list[Batch]:
        """The batches with clean rows, oldest first; until, only: as in `read`."""
        batches = self._ledger.batches(use_case.name)
        unknown = [batch.id for batch in batches if batch.snapshot is None]
        earlier = self._store.batches_with_rows(use_case, unknown) if unknown else set()
        return [
            batch
            for batch in batches
            if (batch.snapshot is not None or batch.id in earlier)
            and (until is None or batch.id <= until)
            and (only is None or batch.id in only)
        ]

    def _days(self, use_case: UseCase, batches: Sequence[Batch]) -> by_day.Days | None:
        """Where the parts of a split by day begin, among the rows of these batches. None: the stored split counts."""
        if use_case.split_day is None:
            return None
        counts: list[tuple[int, date, int]] = []
        for batch in batches:
            for group in self._columns(use_case, batch, [use_case.split_day]):
                found = group.column(0).drop_null().value_counts().to_pylist()
                counts += [(batch.id, one["values"], one["counts"]) for one in found]
        return by_day.days(counts)

    def _unread(self, use_case: UseCase, batches: Sequence[Batch], sealed: pa.Table) -> pa.Table:
        """The sealed rows without those of a group of which test rows are stored."""
        groups = pc.unique(sealed["group_hash"])
        for batch in batches:
            for there in self._columns(use_case, batch, ["split", "group_hash"]):
                test = there.filter(pc.equal(there["split"], "test"))["group_hash"]
                groups = groups.filter(pc.invert(pc.is_in(groups, value_set=test)))
        return sealed.filter(pc.is_in(sealed["group_hash"], value_set=groups))

    def _columns(self, use_case: UseCase, batch: Batch, names: Sequence[str]) -> Iterator[pa.Table]:
        """These columns of the batch's snapshot with the declared types, a group of rows at a time."""
        file = parquet.ParquetFile(pa.BufferReader(self._content(use_case, batch)))
        schema = clean_rows.schema(use_case)
        for group in range(file.num_row_groups):
            yield _group(file, group, schema, names)

    def _content(self, use_case: UseCase, batch: Batch) -> bytes:
        """The bytes of the batch's snapshot, as they were written."""
        name = f"the snapshot of batch {batch.batch_number}"
        if batch.snapshot is None:
            self._progress(f"{name} is made from CleanData, for an earlier release prepared the batch")
            return self._again(use_case, batch)
        try:
            content = self._artifacts.get(batch.snapshot)
        except ArtifactError:
            # Raised here, too, when it is the store that is away.
            if self._artifacts.size(batch.snapshot):
                raise
            fault = "is missing"
        else:
            if sha256(content).hexdigest() == batch.snapshot_digest:
                return content
            fault = "is cut or altered: its digest is another one"
        self._progress(f"{name} ({batch.snapshot}) {fault}; it is made again from CleanData")
        return self._again(use_case, batch)

    def _again(self, use_case: UseCase, batch: Batch) -> bytes:
        """Makes the batch's snapshot from CleanData. Many processes may do it at once: they write the same object."""
        record = self.write(use_case, batch.id, self._store.clean_rows(use_case, batch.id))
        if record != {"snapshot": batch.snapshot, "snapshot_digest": batch.snapshot_digest}:
            # First the object, then the ledger: a record never names an object that was not yet stored.
            # An account that may only read, as that of the notebooks, goes without the record.
            with suppress(DBAPIError):
                self._ledger.note(batch.id, **record)
            batch.snapshot, batch.snapshot_digest = record["snapshot"], record["snapshot_digest"]
        return self._artifacts.get(record["snapshot"])


class _Parts:
    """The rows of one split, or of all but the sealed ones (None), with these columns; `keep`: as in `read`."""

    def __init__(
        self,
        use_case: UseCase,
        days: by_day.Days | None,
        split: str | None,
        names: Sequence[str],
        keep: Callable[[pa.Table], pa.Array] | None,
    ):
        self._names, self._keep = list(names), keep
        self._day, self._days, self._split = use_case.split_day, days, split
        own = ["split"] if self._day is None else [self._day]
        if self._day is not None or keep:
            own.append("group_hash")
        made = {BATCH} if self._day is None else {BATCH, "split"}
        # The columns of a snapshot that this takes.
        self.needed = [name for name in dict.fromkeys([*names, *own]) if name not in made]

    def rows(self, table: pa.Table, batch_id: int) -> pa.Table:
        if self._day is not None:
            found = by_day.splits(table[self._day], table["group_hash"], self._days)
            table = table.append_column("split", found)
        part = table["split"]
        wanted = pc.not_equal(part, SEALED) if self._split is None else pc.equal(part, self._split)
        table = table.filter(pc.and_(wanted, self._keep(table)) if self._keep else wanted)
        number = pa.repeat(pa.scalar(batch_id, pa.int64()), table.num_rows)
        return table.append_column(BATCH, number).select(self._names)


def _empty(use_case: UseCase, names: Sequence[str]) -> pa.Table:
    schema = clean_rows.schema(use_case).append(pa.field(BATCH, pa.int64()))
    return pa.schema([schema.field(name) for name in names]).empty_table()


@dataclass(frozen=True)
class Piece:
    """One group of rows of a snapshot. path, digest: of its object. rows: those of all splits, the sealed ones too."""

    path: str
    digest: str
    batch: int
    group: int
    rows: int
    chosen: _Parts = field(repr=False)
    schema: pa.Schema = field(repr=False)
    numbers: set[str] = field(repr=False)

    def frame(self, content: bytes) -> "pd.DataFrame":
        """The rows, of the object's bytes."""
        file = parquet.ParquetFile(pa.BufferReader(content))
        table = _group(file, self.group, self.schema, self.chosen.needed)
        return _frame(self.numbers, self.chosen.rows(table, self.batch))


def _group(file: parquet.ParquetFile, group: int, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    """These columns of a group of rows, with the types of the schema; of one that the file hasn't, no value."""
    there = set(file.schema_arrow.names)
    table = file.read_row_group(group, columns=[name for name in names if name in there])
    missing = pa.nulls(table.num_rows)
    found = {name: table[name] if name in there else missing for name in names}
    return pa.table({name: column.cast(schema.field(name).type) for name, column in found.items()})


def _numbers(use_case: UseCase) -> set[str]:
    return {c.name for c in (*use_case.features, use_case.target) if isinstance(c, features.Number)}


def _folder(use_case: UseCase) -> str:
    return f"snapshots/{use_case.name}"


def _all_columns(use_case: UseCase) -> list[str]:
    declared = [column.name for column in (*use_case.features, use_case.target)]
    return [*declared, "split", BATCH, "row_hash", "group_hash"]


def _frame(numbers: set[str], table: pa.Table) -> "pd.DataFrame":
    """The table as a frame; of a number float64, of a text `str`, and of days and of true or false the plain values."""
    import pandas as pd

    for at, name in enumerate(table.column_names):
        if name in numbers:
            table = table.set_column(at, name, table[name].cast(pa.float64(), safe=False))
    empty = [
        name
        for name in table.column_names
        if table[name].null_count == table.num_rows and name not in numbers
    ]
    # Each column is let go of when it is converted.
    frame = table.to_pandas(split_blocks=True, self_destruct=True)
    for name in empty:
        # As a query gives a column without any value.
        frame[name] = pd.Series([None] * len(frame), dtype="object")
    return frame
