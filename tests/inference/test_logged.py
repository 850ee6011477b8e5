"""`/predictions`: what the log has, for a key that may read it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import event, insert

from mlops_lab.data.database import now
from mlops_lab.data.log_tables import Feedback, Prediction
from mlops_lab.data.predictions import PredictionReader
from tests.inference.serving import EXAMPLE, Served, ServingLab, bearer, keys_list
from tests.support import models

READ = bearer("auditor")


@pytest.fixture(scope="module")
def filled(tmp_path_factory, templates, built) -> Iterator[ServingLab]:
    """A lab whose log has 250 predictions of `houses`, one a second and each fifth of `forest`, the newest last."""
    home = tmp_path_factory.mktemp("logged") / "lab"
    templates.copy_empty(home)
    lab = ServingLab.open(home, built)
    start = now() - timedelta(days=1)
    entries = [_entry(number, start) for number in range(250)]
    with lab.database.begin() as db:
        db.execute(insert(Prediction), entries)
    yield lab
    lab.close()


def _entry(number: int, start) -> dict:
    return {
        # As with an Idempotency-Key: ids whose order isn't that of time.
        "id": f"{(number * 7919) % 250:032x}",
        "use_case": "forest" if number % 5 == 0 else "houses",
        "version": 1,
        "run_id": "run",
        "request_id": f"request-{number}",
        # Three of a request have the same time.
        "predicted_at": start + timedelta(seconds=number // 3),
        "row": {"number": number},
        "prediction": float(number),
    }


@pytest.fixture(scope="module")
def log(filled) -> Served:
    return filled.serve(ready=False, api_keys=keys_list())


def ask(service: Served, path: str = "", status: int = 200, **parameters) -> dict:
    reply = service.http.get(f"/predictions{path}", params=parameters, headers=READ)
    assert reply.status_code == status, reply.text
    return reply.json()


def newest_first(filled: ServingLab, use_case: str) -> list[str]:
    found = [p for p in filled.predictions() if p.use_case == use_case]
    return [p.id for p in sorted(found, key=lambda p: (p.predicted_at, p.id), reverse=True)]


def test_a_logged_prediction_is_what_was_sent_and_answered(lab):
    lab.publish("clinic")
    service = lab.serve(api_keys=keys_list())
    sent = {"X-Request-ID": "mine", **bearer("caller")}
    reply = service.http.post("/predict/clinic", json=EXAMPLE, headers=sent).json()
    [known] = reply["prediction_ids"]
    service.wait(lambda: service.http.get(f"/predictions/{known}", headers=READ).status_code == 200)
    found = ask(service, f"/{known}")
    [row] = lab.predictions()
    assert found == {
        "id": known,
        "use_case": "clinic",
        "version": reply["model"]["version"],
        "run_id": row.run_id,
        "request_id": "mine",
        "predicted_at": row.predicted_at.isoformat(timespec="milliseconds") + "Z",
        "row": row.row,
        "prediction": reply["predictions"][0],
        "probabilities": reply["probabilities"][0],
        "feedback": [],
    }
    assert found["row"].keys() == {f.name for f in models.FEATURES}
    for actual in (True, False):
        body = {"prediction_id": known, "use_case": "clinic", "actual": actual}
        assert service.http.post("/feedback", json=body, headers=bearer("caller")).status_code == 202
    service.wait(lambda: len(ask(service, f"/{known}")["feedback"]) == 2)
    assert {f["actual"] for f in ask(service, f"/{known}")["feedback"]} == {True, False}
    assert ask(service, use_case="clinic")["predictions"] == [ask(service, f"/{known}")]


def test_an_unknown_prediction_is_404_and_says_that_the_log_is_written_within_seconds(log):
    detail = ask(log, "/" + "f" * 32, 404)["detail"]
    assert "is in the log; one that was just made is written there within seconds" in detail
    assert "f" * 32 in ask(log, "", 404, before="f" * 32)["detail"]


def test_pages_follow_one_another_to_the_end_whatever_the_ids_are(log, filled):
    for use_case, asked in (("forest", {"use_case": "forest"}), ("houses", {})):
        pages, before = [], {}
        while True:
            page = ask(log, limit=40, **asked, **before)
            pages.append([p["id"] for p in page["predictions"]])
            if page["before"] is None:
                break
            before = {"before": page["before"]}
        assert [known for page in pages for known in page] == newest_first(filled, use_case)
        assert {len(page) for page in pages[:-1]} == {40}
    assert ask(log, use_case="castles") == {"predictions": [], "before": None}
    assert len(ask(log)["predictions"]) == 50


def test_of_many_ground_truths_the_newest_ten_are_shown_oldest_first(log, filled):
    many, one = newest_first(filled, "houses")[:2]
    at = now()
    rows = [(many, value, at + timedelta(seconds=value)) for value in range(25)] + [(one, 7, at)]
    with filled.database.begin() as db:
        entries = [
            {
                "id": f"{index:032x}",
                "prediction_id": known,
                "use_case": "houses",
                "actual": value,
                "received_at": moment,
            }
            for index, (known, value, moment) in enumerate(rows)
        ]
        db.execute(insert(Feedback), entries)
    found = {
        p["id"]: [f["actual"] for f in p["feedback"]] for p in ask(log, use_case="houses")["predictions"]
    }
    assert (found[many], found[one]) == (list(range(15, 25)), [7])
    assert ask(log, f"/{many}")["feedback"][-1]["actual"] == 24


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        ("", {"limit": 0}, "limit"),
        ("", {"limit": 1001}, "limit"),
        ("", {"limit": "many"}, "limit"),
        ("", {"before": "1"}, "before"),
        ("", {"before": "F" * 32}, "before"),
        ("", {"use_case": "x" * 41}, "use_case"),
        ("/1", {}, "prediction_id"),
        ("/' OR 1=1", {}, "prediction_id"),
    ],
)
def test_a_bad_parameter_is_refused_by_its_name(log, path, parameters, field):
    assert [p["field"] for p in ask(log, path, 422, **parameters)["detail"]] == [field]


def test_only_an_index_is_read_however_long_the_log_is(filled):
    """SQLite's plan of the statement: no scan of the table, and no sorting but that of predictions of one time."""
    sent = []

    def note(_connection, _cursor, statement, parameters, *_) -> None:
        if "ORDER BY predictions.predicted_at" in statement:
            sent.append((statement, parameters))

    event.listen(filled.database, "before_cursor_execute", note)
    try:
        assert PredictionReader(filled.database).newest("houses", 20, newest_first(filled, "houses")[100])
    finally:
        event.remove(filled.database, "before_cursor_execute", note)
    [(statement, parameters)] = sent
    with filled.database.connect() as db:
        plan = [row[-1] for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    index = "ix_predictions_use_case_predicted_at (use_case=? AND predicted_at<?)"
    assert plan[0] == f"SEARCH predictions USING INDEX {index}"
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_a_database_that_does_not_answer_is_503_in_one_line(lab, tmp_path):
    service = lab.serve(
        ready=False, api_keys=keys_list(), raw_db_url=f"sqlite:///{tmp_path}/nowhere/RawData.db"
    )
    for path in ("", f"/{'0' * 32}"):
        reply = service.http.get(f"/predictions{path}", headers=READ)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "10")
        detail = reply.json()["detail"]
        assert detail == "the database doesn't answer, so the prediction log can't be read"
