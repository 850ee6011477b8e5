"""The tables of a use case, made from its declaration: raw rows and quarantine in RawData, clean rows in CleanData."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.types import TypeEngine

from mlops_lab import features
from mlops_lab.data.database import StoreError, create
from mlops_lab.data.split import SHARES
from mlops_lab.use_case import UseCase

# A raw value or row of any length: MySQL's TEXT ends at 64 KB.
LONG_TEXT = Text().with_variant(LONGTEXT, "mysql")


def raw_tables(use_case: UseCase) -> tuple[Table, Table]:
    """The tables of raw rows and of quarantined rows."""
    tables = _raw_metadata(use_case).tables
    return tables[f"{use_case.name}_raw"], tables[f"{use_case.name}_quarantine"]


def clean_table(use_case: UseCase) -> Table:
    """The table of clean rows."""
    return _clean_metadata(use_case).tables[f"{use_case.name}_clean"]


def apply_declaration(use_case: UseCase, raw: Engine, clean: Engine) -> list[str]:
    """Creates the tables and views, or changes them to what the use case declares now, as far as no value is lost.

    A new column is added; earlier rows have no value in it. A column that is no longer declared stays, with its values.
    Returns a line for each change. Raises `StoreError` when a column has another type than the declared one.
    """
    rows, quarantine = raw_tables(use_case)
    create(rows.metadata, raw)
    create(_clean_metadata(use_case), clean)
    # First the check of all types, so that nothing is changed when something is refused.
    tables = ((rows, raw), (clean_table(use_case), clean))
    missing = [(table, engine, _new_columns(table, engine, use_case)) for table, engine in tables]
    lines = [line for table, engine, columns in missing for line in _add(table, engine, columns)]
    for table in (rows, quarantine):
        _lengthen(table, raw)
    _make_views(rows, raw, use_case, again=bool(lines))
    return lines


def undeclared(use_case: UseCase, raw: Engine, clean: Engine) -> dict[str, list[str]]:
    """For each table, its columns that the use case doesn't declare (any more)."""
    found = {}
    for table, engine in ((raw_tables(use_case)[0], raw), (clean_table(use_case), clean)):
        if names := [name for name in _columns(table, engine) if name not in table.columns]:
            found[table.name] = names
    return found


def drop(use_case: UseCase, raw: Engine, clean: Engine) -> None:
    """Removes the tables and views with all rows."""
    with raw.begin() as db:
        for split, _ in SHARES:
            db.execute(text(f"DROP VIEW IF EXISTS {use_case.name}_{split}"))
    _raw_metadata(use_case).drop_all(raw)
    _clean_metadata(use_case).drop_all(clean)


def _columns(table: Table, engine: Engine) -> dict[str, str]:
    """The types of the columns that the database has, by name."""
    return {
        column["name"]: _kind(column["type"], engine) for column in inspect(engine).get_columns(table.name)
    }


def _kind(type_: TypeEngine[Any], engine: Engine) -> str:
    """The name of a type on this database, without its length; all texts are one kind."""
    if isinstance(type_, String):
        return "TEXT"
    if isinstance(type_, Boolean) and engine.dialect.name == "mysql":
        return "TINYINT"
    return type_.compile(dialect=engine.dialect).partition("(")[0]


def _new_columns(table: Table, engine: Engine, use_case: UseCase) -> list[Column[Any]]:
    """The declared columns that the database lacks. Raises `StoreError` for one that has another type there."""
    there = _columns(table, engine)
    for column in table.columns:
        kind = _kind(column.type, engine)
        if there.get(column.name, kind) != kind:
            raise StoreError(
                f"column {column.name} of {table.name} has type {there[column.name]}, but {use_case.name} declares "
                f"{kind} now; delete its data with `lab reset {use_case.name}`, or give the use case another name"
            )
    return [column for column in table.columns if column.name not in there]


def _add(table: Table, engine: Engine, columns: list[Column[Any]]) -> list[str]:
    """Adds the columns; a line for each."""
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as db:
        for column in columns:
            kind = column.type.compile(dialect=engine.dialect)
            db.execute(text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}"))
    return [
        f"table {table.name} has the new column {column.name}; earlier rows have no value in it"
        for column in columns
    ]


def _lengthen(table: Table, engine: Engine) -> None:
    """MySQL: gives text columns of earlier releases today's length."""
    if engine.dialect.name != "mysql":
        return
    there = {column["name"]: column["type"] for column in inspect(engine).get_columns(table.name)}
    quote = engine.dialect.identifier_preparer.quote
    for column in table.columns:
        if column.type is LONG_TEXT and not isinstance(there[column.name], LONGTEXT):
            null = "NULL" if column.nullable else "NOT NULL"
            change = f"ALTER TABLE {quote(table.name)} MODIFY COLUMN {quote(column.name)} LONGTEXT {null}"
            with engine.begin() as db:
                db.execute(text(change))


def _make_views(rows: Table, engine: Engine, use_case: UseCase, again: bool) -> None:
    """One view of the raw rows for each split. again: existing ones are replaced, since they lack new columns.

    A split by day isn't stored with the rows, so it has no views.
    """
    there = set(inspect(engine).get_view_names())
    with engine.begin() as db:
        for split, _ in SHARES:
            view = f"{use_case.name}_{split}"
            if again or (use_case.split_day and view in there):
                db.execute(text(f"DROP VIEW IF EXISTS {view}"))
                there.discard(view)
            if view not in there and not use_case.split_day:
                # A view takes no parameters. Both names are safe: USE_CASE_NAME and SHARES restrict them.
                rows_of = f"SELECT * FROM {rows.name} WHERE split = '{split}'"  # noqa: S608
                db.execute(text(f"CREATE VIEW {view} AS {rows_of}"))


def _raw_metadata(use_case: UseCase) -> MetaData:
    metadata = MetaData()
    Table(
        f"{use_case.name}_raw",
        metadata,
        Column("batch_id", BigInteger, primary_key=True, autoincrement=False),
        Column("row_index", Integer, primary_key=True, autoincrement=False),
        Column("group_hash", String(32), nullable=False, index=True),
        Column("split", String(10), nullable=False),
        *(Column(column.name, LONG_TEXT) for column in use_case.columns),
    )
    Table(
        f"{use_case.name}_quarantine",
        metadata,
        Column("batch_id", BigInteger, nullable=False, index=True),
        Column("row_index", Integer, nullable=False),
        Column("column_name", String(64), nullable=False),
        Column("rule", String(64), nullable=False),
        Column("message", LONG_TEXT, nullable=False),
        Column("row_json", LONG_TEXT, nullable=False),
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


def _sql_type(feature: features.Feature):
    if isinstance(feature, features.Integer):
        return BigInteger
    if isinstance(feature, features.Number):
        return Double
    if isinstance(feature, features.Boolean):
        return Boolean
    # Text, not String: dozens of wide VARCHAR columns would exceed MySQL's limit of a row's size.
    return Date if isinstance(feature, features.Date) else Text
