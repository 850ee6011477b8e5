"""What the prediction log keeps: the fields of an entry, its line in the spool, and its row in the database.

The spool has a line of JSON for each entry. On the way into the database the JSON of a row is passed on as it is, since
parsing and writing it again would cost more than all the rest.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import JSON, Connection, Insert, Text, column, insert, table

from mlops_lab.data.tables import Feedback, Prediction, Request
from mlops_lab.ids import random_hex
from mlops_lab.logs import request_id

if TYPE_CHECKING:
    from inference.champions import Champion


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


Entry = PredictionEntry | FeedbackEntry | RequestEntry


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
    for kind, statement in _STATEMENTS.items():
        if rows := [_values(entry) for entry in entries if type(entry) is kind]:
            db.execute(statement, rows)


def _values(entry: Entry) -> dict[str, Any]:
    cells = msgspec.structs.astuple(entry)
    texts = (str(cell, "utf-8") if type(cell) is msgspec.Raw else cell for cell in cells)
    return dict(zip(entry.__struct_fields__, texts, strict=True))


def _statement(entry: type[Entry], model: type[Prediction | Feedback | Request]) -> Insert:
    # With the type of text, SQLAlchemy doesn't write JSON a second time.
    types = {c.name: Text() if isinstance(c.type, JSON) else c.type for c in model.__table__.columns}
    columns = (column(name, types[name]) for name in entry.__struct_fields__)
    statement = insert(table(model.__tablename__, *columns))
    return statement.prefix_with("IGNORE", dialect="mysql").prefix_with("OR IGNORE", dialect="sqlite")


_STATEMENTS = {
    PredictionEntry: _statement(PredictionEntry, Prediction),
    FeedbackEntry: _statement(FeedbackEntry, Feedback),
    RequestEntry: _statement(RequestEntry, Request),
}
_DECODER = msgspec.json.Decoder(Entry)
