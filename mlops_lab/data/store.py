"""The rows of the two databases: RawData (raw rows, quarantine, split views) and CleanData (typed, distinct rows).

The tables of a use case are made from its declaration. A write for a batch replaces the earlier rows of that batch.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from mlops_lab import features
from mlops_lab.data import use_case_tables
from mlops_lab.data.database import CHUNK, connect
from mlops_lab.data.migrate import migrate
from mlops_lab.data.payload import RawBatch, as_json
from mlops_lab.data.tables import RAW, Batch, Check, LiveScore, Model, Notice, Promotion
from mlops_lab.data.validate import Broken, Problem, read_texts
from mlops_lab.use_case import UseCase

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow


class Store:
    """RawData and CleanData, each given by its SQLAlchemy URL: SQLite or MySQL."""

    def __init__(self, raw_url: str, clean_url: str):
        self.raw = connect(raw_url, wal=True)
        self.clean = connect(clean_url, wal=True)

    def create_tables(self) -> str | None:
        """Creates or migrates the tables that belong to no single use case, as `migrate` does."""
        return migrate(RAW, self.raw)

    # Raw rows

    def put_raw(
        self,
        use_case: UseCase,
        batch_id: int,
        parts: "Iterable[tuple[RawBatch, pd.DataFrame, list[Problem]]]",
    ) -> dict[str, int]:
        """Writes good rows as they arrived, bad rows with the rule that they broke, and the counts, in one transaction.

        parts: of the payload: its rows; of the good ones group_hash and split, index: position in the payload; the
        problems of the others. An error of the iterator takes back everything.
        Returns the numbers of rows: received, stored, quarantined.
        """
        from mlops_lab.data.bulk import load

        raw, quarantine = use_case_tables.raw_tables(use_case)
        counts = {"received": 0, "stored": 0, "quarantined": 0}
        with self.raw.begin() as db:
            db.execute(delete(raw).where(raw.c.batch_id == batch_id))
            db.execute(delete(quarantine).where(quarantine.c.batch_id == batch_id))
            for payload, kept, problems in parts:
                load(db, raw, _good(use_case, batch_id, payload, kept))
                load(db, quarantine, _bad(batch_id, payload, problems))
                counts["received"] += len(payload.rows) + len(payload.misshapen)
                counts["stored"] += len(kept)
                counts["quarantined"] += len({problem.row for problem in problems})
            db.execute(update(Batch).where(Batch.id == batch_id).values(state="stored", **counts))
        return counts

    def quarantined(self, use_case: UseCase, batches: Sequence[int]) -> list[Broken]:
        """The broken rules of rows in quarantine, the most frequent first. batches: ids of the ledger."""
        _, quarantine = use_case_tables.raw_tables(use_case)
        amount = func.count()
        query = (
            select(quarantine.c.column_name, quarantine.c.rule, func.min(quarantine.c.message), amount)
            .where(quarantine.c.batch_id.in_(batches))
            .group_by(quarantine.c.column_name, quarantine.c.rule)
            .order_by(amount.desc())
        )
        with self.raw.connect() as db:
            return [Broken(column, rule, message, rows) for column, rule, message, rows in db.execute(query)]

    def read_raw(self, use_case: UseCase, batch_id: int) -> "pd.DataFrame":
        """The good rows of a batch, typed, with columns group_hash and split; index: position in the payload.

        Raises `LabError` when a stored row breaks a rule of the use case, because the use case has changed.
        """
        import pandas as pd

        raw, _ = use_case_tables.raw_tables(use_case)
        names = [*(column.name for column in use_case.columns), "group_hash", "split"]
        found = select(raw.c.row_index, *(raw.c[name] for name in names)).where(raw.c.batch_id == batch_id)
        with self.raw.connect() as db:
            stored = [tuple(row) for row in db.execute(found.order_by(raw.c.row_index))]
        texts = pd.DataFrame(stored, columns=["row_index", *names], dtype="object")
        texts = texts.set_index(texts.pop("row_index").astype("int64"))
        return read_texts(use_case, texts).assign(group_hash=texts["group_hash"], split=texts["split"])

    def new_groups(self, use_case: UseCase, batch_id: int, known: Collection[int]) -> tuple[int, int]:
        """Two numbers of distinct group keys of the batch: those that are in none of the known batches, and all."""
        raw, _ = use_case_tables.raw_tables(use_case)
        seen = raw.alias()
        mine = select(raw.c.group_hash).where(raw.c.batch_id == batch_id).distinct()
        there = select(seen.c.group_hash).where(seen.c.batch_id.in_(known))
        with self.raw.connect() as db:
            total = db.scalar(select(func.count()).select_from(mine.subquery()))
            new = db.scalar(
                select(func.count()).select_from(mine.where(raw.c.group_hash.not_in(there)).subquery())
            )
        return new or 0, total or 0

    # Clean rows

    def known_rows(self, use_case: UseCase, batch_id: int, row_hashes: Sequence[str]) -> set[str]:
        """Those of the row hashes that other batches brought."""
        table = use_case_tables.clean_table(use_case)
        known: set[str] = set()
        with self.clean.connect() as db:
            for start in range(0, len(row_hashes), CHUNK):
                found = select(table.c.row_hash).where(
                    table.c.row_hash.in_(row_hashes[start : start + CHUNK]), table.c.batch_id != batch_id
                )
                known.update(db.scalars(found))
        return known

    def put_clean(self, use_case: UseCase, batch_id: int, rows: "pyarrow.Table") -> None:
        """Writes the batch's rows, which no other batch has brought: columns of `clean_rows`, each row_hash once."""
        import pyarrow as pa

        from mlops_lab.data.bulk import load

        table = use_case_tables.clean_table(use_case)
        with self.clean.begin() as db:
            db.execute(delete(table).where(table.c.batch_id == batch_id))
            load(db, table, rows.append_column("batch_id", pa.repeat(batch_id, rows.num_rows)))

    def batches_with_rows(self, use_case: UseCase, batches: Collection[int]) -> set[int]:
        """Those of the batches that have clean rows."""
        table = use_case_tables.clean_table(use_case)
        found = select(table.c.batch_id).where(table.c.batch_id.in_(batches)).distinct()
        with self.clean.connect() as db:
            return set(db.scalars(found))

    def clean_rows(self, use_case: UseCase, batch_id: int) -> "pyarrow.Table":
        """The clean rows of a batch with the columns of `clean_rows.schema`, by their position in the payload."""
        from mlops_lab.data import clean_rows

        table = use_case_tables.clean_table(use_case)
        names = clean_rows.schema(use_case).names
        query = select(*(table.c[name] for name in names)).where(table.c.batch_id == batch_id)
        with self.clean.connect() as db:
            found = db.execution_options(stream_results=True).execute(query.order_by(table.c.row_index))
            return clean_rows.from_rows(use_case, names, found.partitions(CHUNK))

    def count_clean(self, use_case: UseCase) -> int:
        """The number of clean rows of all batches."""
        table = use_case_tables.clean_table(use_case)
        with self.clean.connect() as db:
            return db.scalar(select(func.count()).select_from(table)) or 0

    # All of a use case

    def reset(self, use_case: UseCase) -> None:
        """Drops the use case's tables and views, and deletes its batches, models, promotions, checks. The log stays."""
        with self.raw.begin() as db:
            for table in (Batch, Model, Promotion, Check, LiveScore, Notice):
                db.execute(delete(table).where(table.use_case == use_case.name))
        use_case_tables.drop(use_case, self.raw, self.clean)

    def prepare_tables(self, use_case: UseCase) -> list[str]:
        """Creates or changes the use case's tables and views, as `use_case_tables.apply_declaration` does.

        Returns a line for each change. Raises `StoreError` when that would lose values.
        """
        self.create_tables()
        return use_case_tables.apply_declaration(use_case, self.raw, self.clean)

    def undeclared(self, use_case: UseCase) -> list[str]:
        """A line for each column that the tables have and the use case doesn't declare."""
        found = use_case_tables.undeclared(use_case, self.raw, self.clean)
        return [
            f"table {table} keeps the column {name}, which {use_case.name} doesn't declare any more"
            for table, names in found.items()
            for name in names
        ]


def _good(use_case: UseCase, batch_id: int, payload: RawBatch, kept: "pd.DataFrame") -> "pyarrow.Table":
    """The good rows as they arrived, with the columns of the table."""
    import pyarrow as pa

    rows = payload.by_position
    good = [rows[position] for position in kept.index.tolist()]
    columns = {
        "batch_id": pa.repeat(batch_id, len(good)),
        "row_index": pa.array(kept.index.to_numpy()),
        "group_hash": pa.array(kept["group_hash"], pa.string()),
        "split": pa.array(kept["split"], pa.string()),
    }
    for column in use_case.columns:
        values = (row[column.name] for row in good)
        # Most values are texts, and a call for each one costs more than all else here.
        texts = [value if type(value) is str else features.as_text(value) for value in values]
        columns[column.name] = pa.array(texts, pa.string())
    return pa.table(columns)


def _bad(batch_id: int, payload: RawBatch, problems: Sequence[Problem]) -> "pyarrow.Table":
    """The quarantined rows with the columns of the table, a row for each problem."""
    import pyarrow as pa

    rows = payload.by_position if problems else {}
    texts = {
        "column_name": [problem.column for problem in problems],
        "rule": [problem.rule for problem in problems],
        "message": [problem.message for problem in problems],
        "row_json": [as_json(rows[problem.row]) for problem in problems],
    }
    return pa.table(
        {
            "batch_id": pa.repeat(batch_id, len(problems)),
            "row_index": pa.array([problem.row for problem in problems], pa.int64()),
            **{name: pa.array(values, pa.string()) for name, values in texts.items()},
        }
    )
