"""The two databases: RawData (ledger, raw rows, quarantine, split views) and CleanData (typed rows).

Tables of a use case are made from its declaration. A step that is run again replaces what it wrote before.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy import Boolean as SqlBoolean
from sqlalchemy.exc import IntegrityError, OperationalError

from mlops_lab import contract
from mlops_lab.data.rows import rows
from mlops_lab.data.split import SHARES
from mlops_lab.data.tables import BATCHES, MODELS, PROMOTIONS, RAW
from mlops_lab.data.validate import Problem
from mlops_lab.errors import LabError
from mlops_lab.features import Feature
from mlops_lab.use_case import UseCase

CHUNK = 2000  # rows a statement; MySQL packets stay far below their limit
UNFINISHED = ("landed", "stored", "prepared", "decided")


class StoreError(LabError):
    """A database can't be reached, or its tables don't fit the use case."""


@dataclass(frozen=True)
class Batch:
    """One row of the batch ledger."""

    id: int
    use_case: str
    batch_number: int | None
    digest: str
    payload: str
    state: str
    gap: int = 0
    fault: str | None = None
    received: int | None = None
    quarantined: int | None = None
    stored: int | None = None
    dropped: int | None = None
    duplicates: int | None = None
    clean: int | None = None
    decision: str | None = None
    reason: str | None = None
    mlflow_run: str | None = None


class Store:
    """RawData and CleanData by SQLAlchemy URL; SQLite and MySQL behave alike."""

    def __init__(self, raw_url: str, clean_url: str):
        self.raw = connect(raw_url)
        self.clean = connect(clean_url)

    def create_tables(self) -> None:
        """The lab's own tables, where they don't exist yet."""
        _create(RAW, self.raw)

    # The batch ledger

    def land(self, use_case: str, digest: str, **values: Any) -> tuple[Batch, bool]:
        """The ledger's entry of a payload, and whether it is new: the same payload is one batch."""
        number = values["batch_number"]
        with self.raw.begin() as db:
            last = db.scalar(
                select(BATCHES.c.batch_number)
                .where(BATCHES.c.use_case == use_case, BATCHES.c.batch_number.is_not(None))
                .order_by(BATCHES.c.id.desc())
                .limit(1)
            )
            gap = max(0, number - (last or 0) - 1) if number is not None and number > (last or 0) else 0
            entry = {
                "use_case": use_case,
                "digest": digest,
                "landed_at": now(),
                "state": "landed",
                "gap": gap,
            }
            try:
                with db.begin_nested():
                    db.execute(insert(BATCHES).values(**entry, **values))
                new = True
            except IntegrityError:
                new = False
            row = db.execute(
                select(BATCHES).where(BATCHES.c.use_case == use_case, BATCHES.c.digest == digest)
            ).one()
        return _batch(row), new

    def batch(self, batch_id: int) -> Batch:
        with self.raw.connect() as db:
            row = db.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).one_or_none()
        if row is None:
            raise StoreError(f"the batch ledger has no batch {batch_id}")
        return _batch(row)

    def batches(self, use_case: str) -> list[Batch]:
        """The ledger of a use case, oldest first."""
        with self.raw.connect() as db:
            found = db.execute(select(BATCHES).where(BATCHES.c.use_case == use_case).order_by(BATCHES.c.id))
            return [_batch(row) for row in found]

    def unfinished(self, use_case: str) -> Batch | None:
        """The oldest batch that landed but whose run never came to its end."""
        return next((b for b in self.batches(use_case) if b.state in UNFINISHED), None)

    def note(self, batch_id: int, **values: Any) -> None:
        """Writes columns of a batch's ledger entry."""
        with self.raw.begin() as db:
            db.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(**values))

    # Raw rows

    def put_raw(
        self,
        use_case: UseCase,
        batch: Batch,
        kept: pd.DataFrame,
        raw_rows: dict[int, dict],
        problems: list[Problem],
    ) -> None:
        """Good rows as they came, bad rows with the rule they broke, and the counts: one transaction.

        kept:     index row_index, columns group_hash and split.
        raw_rows: position in the payload → raw row, of all rows.
        """
        raw, quarantine = self._raw_tables(use_case)
        names = [column.name for column in use_case.columns]
        good = (
            {"batch_id": batch.id, "row_index": index, "group_hash": group, "split": split}
            | {name: _as_text(raw_rows[index].get(name)) for name in names}
            for index, group, split in zip(
                kept.index.tolist(), kept["group_hash"], kept["split"], strict=True
            )
        )
        bad = (
            {
                "batch_id": batch.id,
                "row_index": p.row,
                "column_name": p.column,
                "rule": p.rule,
                "message": p.message,
            }
            | {"row_json": json.dumps(raw_rows.get(p.row, p.value), ensure_ascii=False, default=str)}
            for p in problems
        )
        with self.raw.begin() as db:
            db.execute(delete(raw).where(raw.c.batch_id == batch.id))
            db.execute(delete(quarantine).where(quarantine.c.batch_id == batch.id))
            _insert(db, raw, good)
            _insert(db, quarantine, bad)
            counts = {
                "stored": len(kept),
                "quarantined": len({p.row for p in problems}),
                "received": len(raw_rows),
            }
            db.execute(update(BATCHES).where(BATCHES.c.id == batch.id).values(state="stored", **counts))

    def new_groups(self, use_case: UseCase, batch_id: int, since: int) -> tuple[int, int]:
        """Distinct group keys of the batch: (those that no batch up to `since` has, all of them)."""
        raw, _ = self._raw_tables(use_case)
        seen = raw.alias()
        mine = select(raw.c.group_hash).where(raw.c.batch_id == batch_id).distinct()
        known = select(seen.c.group_hash).where(seen.c.batch_id <= since)
        with self.raw.connect() as db:
            total = db.scalar(select(func.count()).select_from(mine.subquery()))
            new = db.scalar(
                select(func.count()).select_from(mine.where(raw.c.group_hash.not_in(known)).subquery())
            )
        return new, total

    # Clean rows

    def put_clean(self, use_case: UseCase, batch: Batch, frame: pd.DataFrame) -> int:
        """Appends clean rows that aren't there yet; returns how many were new.

        frame: features, target, group_hash, split and row_hash; index row_index.
        """
        table = self._clean_table(use_case)
        frame = frame[~frame["row_hash"].duplicated()]
        with self.clean.begin() as db:
            db.execute(delete(table).where(table.c.batch_id == batch.id))
            known: set[str] = set()
            wanted = frame["row_hash"].tolist()
            for start in range(0, len(wanted), CHUNK):
                found = select(table.c.row_hash).where(table.c.row_hash.in_(wanted[start : start + CHUNK]))
                known.update(db.scalars(found))
            fresh = frame[~frame["row_hash"].isin(known)]
            entries = (
                {"batch_id": batch.id, "row_index": index, **row}
                for index, row in zip(fresh.index.tolist(), rows(fresh), strict=True)
            )
            _insert(db, table, entries)
        return len(fresh)

    def read_clean(
        self, use_case: UseCase, *, split: str | None = None, after: int = 0, until: int | None = None
    ) -> pd.DataFrame:
        """Clean rows of batches after < id <= until, oldest first: features, target, split, batch_id, row_hash."""
        table = self._clean_table(use_case)
        names = [f.name for f in use_case.features] + [use_case.target.name, "split", "batch_id", "row_hash"]
        query = select(*(table.c[name] for name in names)).where(table.c.batch_id > after)
        if until is not None:
            query = query.where(table.c.batch_id <= until)
        if split:
            query = query.where(table.c.split == split)
        with self.clean.connect() as db:
            frame = pd.read_sql(query.order_by(table.c.batch_id, table.c.row_index), db)
        for feature in (*use_case.features, use_case.target):
            # A column without any value comes back untyped.
            if isinstance(feature, contract.Number):
                frame[feature.name] = frame[feature.name].astype("float64")
        return frame

    def count_clean(self, use_case: UseCase, after: int = 0) -> int:
        """Clean rows of batches with an id above `after`."""
        table = self._clean_table(use_case)
        with self.clean.connect() as db:
            return db.scalar(select(func.count()).where(table.c.batch_id > after))

    # Models and promotions

    def put_model(self, **values: Any) -> None:
        with self.raw.begin() as db:
            db.execute(insert(MODELS).values(registered_at=now(), **values))

    def model(self, use_case: str, version: int) -> Any | None:
        """What the lab itself recorded of a version when it was registered: digest, run_id, batch_id."""
        with self.raw.connect() as db:
            found = select(MODELS).where(MODELS.c.use_case == use_case, MODELS.c.version == version)
            return db.execute(found).one_or_none()

    def models_of_batch(self, use_case: str, batch_id: int) -> list[int]:
        with self.raw.connect() as db:
            found = select(MODELS.c.version).where(
                MODELS.c.use_case == use_case, MODELS.c.batch_id == batch_id
            )
            return list(db.scalars(found.order_by(MODELS.c.version)))

    def promotions(self, use_case: str) -> list[Any]:
        """Every promotion, refusal and roll-back, oldest first."""
        with self.raw.connect() as db:
            found = select(PROMOTIONS).where(PROMOTIONS.c.use_case == use_case)
            return list(db.execute(found.order_by(PROMOTIONS.c.sequence)))

    def put_promotion(self, use_case: str, sequence: int, **values: Any) -> bool:
        """Records a decision as number `sequence`; False when another one took that number meanwhile."""
        try:
            with self.raw.begin() as db:
                db.execute(
                    insert(PROMOTIONS).values(
                        use_case=use_case, sequence=sequence, decided_at=now(), **values
                    )
                )
        except IntegrityError:
            return False
        return True

    # All of a use case

    def reset(self, use_case: UseCase) -> None:
        """Removes every table, ledger entry and record of the use case. Predictions stay."""
        with self.raw.begin() as db:
            for table in (BATCHES, MODELS, PROMOTIONS):
                db.execute(delete(table).where(table.c.use_case == use_case.name))
            for split, _ in SHARES:
                db.execute(text(f"DROP VIEW IF EXISTS {use_case.name}_{split}"))
        _raw_metadata(use_case).drop_all(self.raw)
        _clean_metadata(use_case).drop_all(self.clean)

    def prepare_tables(self, use_case: UseCase) -> None:
        """The use case's tables and views. Raises `StoreError` when older ones have other columns."""
        self.create_tables()
        raw, _ = self._raw_tables(use_case)
        self._clean_table(use_case)
        _create(raw.metadata, self.raw)
        _create(_clean_metadata(use_case), self.clean)
        for table, engine in ((raw, self.raw), (self._clean_table(use_case), self.clean)):
            there = {column["name"] for column in inspect(engine).get_columns(table.name)}
            if there != (declared := {column.name for column in table.columns}):
                odd = ", ".join(sorted(there ^ declared))
                raise StoreError(
                    f"table {table.name} was made for other columns than {use_case.name} declares now ({odd}); "
                    f"`lab reset {use_case.name}` begins anew, or give the use case another name"
                )
        views = set(inspect(self.raw).get_view_names())
        with self.raw.begin() as db:
            for split, _ in SHARES:
                if f"{use_case.name}_{split}" not in views:
                    # A view takes no parameters; the names are those that NAME and SHARES allow.
                    rows_of = f"SELECT * FROM {raw.name} WHERE split = '{split}'"  # noqa: S608
                    db.execute(text(f"CREATE VIEW {use_case.name}_{split} AS {rows_of}"))

    def _raw_tables(self, use_case: UseCase) -> tuple[Table, Table]:
        tables = _raw_metadata(use_case).tables
        return tables[f"{use_case.name}_raw"], tables[f"{use_case.name}_quarantine"]

    def _clean_table(self, use_case: UseCase) -> Table:
        return _clean_metadata(use_case).tables[f"{use_case.name}_clean"]


def connect(url: str) -> Engine:
    """An engine that survives a restarted server; SQLite waits for other writers instead of failing."""
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_recycle=1800)
    engine = create_engine(url, connect_args={"timeout": 60})

    @event.listens_for(engine, "connect")
    def _pragmas(connection, _record):
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    return engine


def now() -> datetime:
    """UTC without an offset, as both databases store it; whole milliseconds."""
    moment = datetime.now(UTC).replace(tzinfo=None)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _create(metadata: MetaData, engine: Engine) -> None:
    try:
        metadata.create_all(engine)
    except OperationalError as error:
        # Two processes may find the same table absent; the one that comes second is content.
        if "exists" not in str(error.orig):
            raise StoreError(f"the database can't be used: {str(error.orig).splitlines()[0]}") from error
        metadata.create_all(engine)


def _insert(db, table: Table, entries: Iterable[dict]) -> None:
    chunk = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == CHUNK:
            db.execute(insert(table), chunk)
            chunk = []
    if chunk:
        db.execute(insert(table), chunk)


def _batch(row) -> Batch:
    return Batch(**{name: row._mapping[name] for name in Batch.__dataclass_fields__})


def _as_text(value: Any) -> str | None:
    return (
        None if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _raw_metadata(use_case: UseCase) -> MetaData:
    metadata = MetaData()
    Table(
        f"{use_case.name}_raw",
        metadata,
        Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
        Column("row_index", Integer, primary_key=True, autoincrement=False),
        Column("group_hash", String(32), nullable=False, index=True),
        Column("split", String(10), nullable=False),
        *(Column(column.name, Text) for column in use_case.columns),
    )
    Table(
        f"{use_case.name}_quarantine",
        metadata,
        Column("batch_id", BigInteger, nullable=False, index=True),
        Column("row_index", Integer, nullable=False),
        Column("column_name", String(64), nullable=False),
        Column("rule", String(64), nullable=False),
        Column("message", Text, nullable=False),
        Column("row_json", Text, nullable=False),
    )
    return metadata


def _clean_metadata(use_case: UseCase) -> MetaData:
    metadata = MetaData()
    Table(
        f"{use_case.name}_clean",
        metadata,
        Column("row_hash", String(32), primary_key=True),
        Column("batch_id", BigInteger, nullable=False, index=True),
        Column("row_index", Integer, nullable=False),
        Column("group_hash", String(32), nullable=False),
        Column("split", String(10), nullable=False),
        *(Column(feature.name, _sql_type(feature)) for feature in (*use_case.features, use_case.target)),
    )
    return metadata


def _sql_type(feature: Feature):
    if isinstance(feature, contract.Integer):
        return BigInteger
    if isinstance(feature, contract.Number):
        return Double
    if isinstance(feature, contract.Boolean):
        return SqlBoolean
    # Text, not String: dozens of wide VARCHARs would pass the row size that MySQL allows.
    return Date if isinstance(feature, contract.Date) else Text


def records(problems: list[Problem], most: int) -> list[dict]:
    """The first problems as plain records, for the quarantine table of a batch's run."""
    return [asdict(problem) for problem in problems[:most]]
