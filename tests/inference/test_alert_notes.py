"""Notes on alerts: kept in the lab's database, read back newest first, bad ones refused."""

import pytest
from sqlalchemy import select

from mlops_lab.data.log_tables import AlertNote

PATH = "/alerts/11c31be9433e12b7/notes"
NOTE = {
    "alert": "InputDrift",
    "summary": "bed of housing has drifted",
    "action": "acknowledged",
    "who": "Ana",
    "why": "the new region; I look at it",
}


def test_notes_are_kept_and_read_newest_first(service, shared):
    first = service.http.post(PATH, json=NOTE)
    assert first.status_code == 201, first.text
    second = service.http.post(PATH, json=NOTE | {"action": "concluded", "why": "it is expected"})
    notes = service.http.get("/alerts/notes").json()["notes"]
    assert notes[:2] == [second.json(), first.json()]
    assert NOTE.items() <= first.json().items()
    with shared.database.connect() as db:
        kept = db.execute(select(AlertNote.who, AlertNote.action).order_by(AlertNote.id)).all()
    assert [tuple(row) for row in kept[-2:]] == [("Ana", "acknowledged"), ("Ana", "concluded")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"who": ""}, "who"),
        ({"why": "x" * 1001}, "why"),
        ({"action": "ignored"}, "action"),
        ({"at": "2026-01-01"}, "at"),
    ],
)
def test_a_bad_note_is_refused_with_its_field(service, change, field):
    before = service.http.get("/alerts/notes").json()
    reply = service.http.post(PATH, json=NOTE | change)
    assert reply.status_code == 422
    assert [problem["field"] for problem in reply.json()["detail"]] == [field]
    assert service.http.post(PATH.replace("1", "x"), json=NOTE).status_code == 422
    assert service.http.get("/alerts/notes").json() == before
    # A page of another origin can send a form, but no JSON.
    assert service.http.post(PATH, content=b"{}").status_code == 415


def test_without_the_table_both_routes_say_so_and_the_service_serves_on(lab):
    lab.publish("houses")
    service = lab.serve()
    AlertNote.__table__.drop(lab.database)
    for reply in (service.http.get("/alerts/notes"), service.http.post(PATH, json=NOTE)):
        assert reply.status_code == 503
        assert reply.json()["detail"].startswith("the database doesn't answer")
    service.predict()
