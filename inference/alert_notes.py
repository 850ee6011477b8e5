"""`/alerts/notes` and `/alerts/<fingerprint>/notes`: who acknowledged or concluded an alert, and why.

The System page calls this, because it reaches no database.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Engine, select
from sqlalchemy.orm import sessionmaker

from inference.body import Intake, parse
from inference.database import ask
from inference.openapi import refusals
from mlops_lab.data.log_tables import AlertNote

# Notes in one reply, the newest first.
MOST = 100

_Line = Annotated[str, Field(min_length=1, max_length=80)]
_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class NewNote(BaseModel):
    """What a person sends."""

    model_config = ConfigDict(extra="forbid")

    alert: _Line
    summary: _Text
    action: Literal["acknowledged", "concluded"]
    who: _Line
    why: _Text


class Note(NewNote):
    """What is kept. fingerprint: Alertmanager's id of the alert's labels. at: UTC."""

    fingerprint: str
    at: str


class Notes(BaseModel):
    """The newest notes first."""

    notes: list[Note]


def router(intake: Intake, database: Engine) -> APIRouter:
    """The two routes. The database account may add and read notes, and change none."""
    routes = APIRouter(tags=["alerts"])
    session = sessionmaker(database)

    def newest() -> Notes:
        with session() as db:
            found = db.scalars(select(AlertNote).order_by(AlertNote.id.desc()).limit(MOST))
            return Notes(notes=[_as_sent(note) for note in found])

    def store(fingerprint: str, new: NewNote) -> Note:
        with session.begin() as db:
            note = AlertNote(fingerprint=fingerprint, **new.model_dump())
            db.add(note)
            return _as_sent(note)

    @routes.get("/alerts/notes", summary="What people did about alerts", responses=refusals(503))
    async def notes() -> Notes:
        return await ask("notes on alerts", newest)

    @routes.post(
        "/alerts/{fingerprint}/notes",
        summary="Acknowledge or conclude an alert",
        status_code=201,
        responses=refusals(400, 413, 415, 422, 503),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": NewNote.model_json_schema()}},
            }
        },
    )
    async def add(request: Request, fingerprint: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]) -> Note:
        body = bytearray()
        try:
            # FastAPI's own way to read a body has no limit.
            await intake.read(request.scope["headers"], request.receive, body)
            new = NewNote.model_validate(parse(body))
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from None
        finally:
            intake.release(body)
        return await ask("notes on alerts", store, fingerprint, new)

    return routes


def _as_sent(note: AlertNote) -> Note:
    kept = {name: getattr(note, name) for name in NewNote.model_fields}
    return Note(**kept, fingerprint=note.fingerprint, at=f"{note.at.isoformat(timespec='milliseconds')}Z")
