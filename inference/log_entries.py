"""What the prediction log keeps: the fields of an entry, its line in the spool, and its row in the database.

The spool has a line of JSON for each entry. On the way into the database the JSON of a row is passed on as it is, since
parsing and writing it again would cost more than all the rest.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec
from sqlalchemy import Connection, Dialect, column, insert, table
from sqlalchemy.engine.default import DefaultDialect

from mlops_lab.data.log_tables import Feedback, Prediction, Request, ShadowPrediction
from mlops_lab.ids import random_hex
from mlops_lab.logs import request_id

if TYPE_CHECKING:
    from inference.loaded import Champion
    from mlops_lab.model.registry import Version


# An entry that is made has values here, and one that is read from the spool has their JSON.
Json = msgspec.Raw


class PredictionEntry(msgspec.Struct, tag_field="table", tag="predictions", gc=False):
    """One predicted row. row: the typed row, a dictionary or a struct."""

    use_case: str
    version: int
    run_id: str
    request_id: str
    predicted_at: datetime
    id: str
    row: Json
    prediction: Json
    probabilities: Json


class ShadowEntry(msgspec.Struct, tag_field="table", tag="shadow_predictions", gc=False):
    """What a shadow predicted for a logged prediction's row."""

    prediction_id: str
    version: int
    use_case: str
    run_id: str
    predicted_at: datetime
    prediction: Json
    probabilities: Json


class FeedbackEntry(msgspec.Struct, tag_field="table", tag="feedback", gc=False):
    """One ground truth that a caller sent for a prediction."""

    id: str
    prediction_id: str
    use_case: str
    actual: Json
    group_key: Json
    received_at: datetime


class RequestEntry(msgspec.Struct, tag_field="table", tag="requests", gc=False):
    """One request to a model, also a refused or failed one."""

    id: str
    request_id: str
    use_case: str
    version: int | None
    kind: str
    status: int
    error: str | None
    rows: int
    milliseconds: float
    received_at: datetime


Entry = PredictionEntry | ShadowEntry | FeedbackEntry | RequestEntry


def prediction_entries(
    champion: "Champion",
    moment: datetime,
    ids: list[str],
    rows: Sequence[Any],
    values: Sequence[Any],
    probabilities: Sequence[Any] | None,
) -> list[PredictionEntry]:
    """The entry of each predicted row. It also names the model's version and the request."""
    version = champion.version
    common = version.use_case, version.version, version.run_id, request_id.get(), moment
    found = probabilities or [None] * len(rows)
    return [PredictionEntry(*common, *parts) for parts in zip(ids, rows, values, found, strict=True)]


def shadow_entries(
    version: "Version",
    served: Sequence[PredictionEntry],
    values: Sequence[Any],
    probabilities: Sequence[Any] | None,
) -> list[ShadowEntry]:
    """The shadow's entry for each entry that was served. version: the shadow's."""
    common = version.version, version.use_case, version.run_id
    found = probabilities or [None] * len(served)
    return [
        ShadowEntry(entry.id, *common, entry.predicted_at, *parts)
        for entry, *parts in zip(served, values, found, strict=True)
    ]


def request_entry(
    moment: datetime,
    use_case: str,
    version: int | None,
    kind: str,
    status: int,
    error: str | None,
    rows: int,
    milliseconds: float,
) -> RequestEntry:
    """The entry of a request that came at this moment, UTC."""
    [one] = new_ids(1)
    facts = use_case, version, kind, status, error, rows, milliseconds, moment
    return RequestEntry(one, request_id.get(), *facts)


def new_ids(n: int) -> list[str]:
    """32 hexadecimal digits each: milliseconds first, so that the index grows at its end, then 80 random bits."""
    moment = f"{time.time_ns() // 1_000_000:012x}"
    random = random_hex(10 * n)
    return [moment + random[i : i + 20] for i in range(0, 20 * n, 20)]


def parse(line: bytes) -> Entry | None:
    """The entry in a line of the spool; None when the line is cut short, or is no entry."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, ValueError):
        return None


def store(db: Connection, entries: Sequence[Entry]) -> None:
    """Inserts the entries that the database doesn't have yet. Raises SQLAlchemy's errors, or those of a driver."""
    for kind in _TABLES:
        if found := [entry for entry in entries if type(entry) is kind]:
            # By the driver: SQLAlchemy would look at each cell again, which takes a third of the time of an insert.
            db.exec_driver_sql(insert_statement(kind, db.dialect), _rows(kind, found))


def _rows(kind: type[Entry], entries: Sequence[Entry]) -> list[tuple[Any, ...]]:
    """Entries of one kind as rows for the driver, with the values in the order of the fields."""
    columns: list[Any] = list(zip(*map(msgspec.structs.astuple, entries), strict=True))
    for index, field in enumerate(msgspec.structs.fields(kind)):
        if write := _WRITTEN.get(field.type):
            columns[index] = [write(cell) for cell in columns[index]]
    return list(zip(*columns, strict=True))


def _text(cell: msgspec.Raw) -> str:
    return str(cell, "utf-8")


# The entries of one request have the same moment.
@lru_cache(8)
def _moment(cell: datetime) -> str:
    return cell.isoformat(" ", "microseconds")


@cache
def insert_statement(kind: type[Entry], dialect: Dialect) -> str:
    """The statement, with a place for each field in their order."""
    columns = (column(name) for name in kind.__struct_fields__)
    statement = insert(table(_TABLES[kind].__tablename__, *columns))
    statement = statement.prefix_with("IGNORE", dialect="mysql").prefix_with("OR IGNORE", dialect="sqlite")
    # Places without names, whatever SQLAlchemy takes for this driver: rows are tuples.
    places = "qmark" if dialect.name == "sqlite" else "format"
    made = cast(type[DefaultDialect], type(dialect))(paramstyle=places)
    return str(statement.compile(dialect=made))


_TABLES: dict[type[Entry], type[Prediction | ShadowPrediction | Feedback | Request]] = {
    PredictionEntry: Prediction,
    ShadowEntry: ShadowPrediction,
    FeedbackEntry: Feedback,
    RequestEntry: Request,
}
# How a cell of an entry from the spool is given to the driver, by the type of its field.
_WRITTEN: dict[Any, Callable[[Any], str]] = {Json: _text, datetime: _moment}
_DECODER = msgspec.json.Decoder(Entry)
