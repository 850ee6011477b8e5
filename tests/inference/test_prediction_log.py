"""The prediction log: every prediction is in the database once, also after a kill or an outage."""

import time
from functools import partial
from typing import get_args

import orjson
import pytest
from sqlalchemy import create_engine, insert, select

from inference import prediction_log
from inference.log_entries import Entry, PredictionEntry, insert_statement, parse
from inference.prediction_log import PredictionLog
from inference.spool import SpoolError, lines
from mlops_lab.data.database import connect
from mlops_lab.data.log_tables import Prediction
from mlops_lab.data.tables import RAW
from tests.inference.serving import EXAMPLE, LOG_TABLES, SLACK
from tests.support import models


def test_predictions_reach_the_database_as_they_were_made(lab):
    version = lab.publish("clinic")
    service = lab.serve()
    rows = [EXAMPLE | {"area": "120.5", "state": "Atlantis"}, EXAMPLE | {"garden": None}]
    reply = service.http.post(
        "/predict/clinic", json={"rows": rows}, headers={"X-Request-ID": "trace-me"}
    ).json()
    logged = service.wait(lambda: len(lab.predictions()) == 2 and {p.id: p for p in lab.predictions()})
    first = logged[reply["prediction_ids"][0]]
    assert first.row == EXAMPLE | {"state": "Atlantis"}
    assert (first.prediction, first.probabilities) == (reply["predictions"][0], reply["probabilities"][0])
    assert (first.use_case, first.version, first.run_id) == ("clinic", 1, version.run_id)
    assert first.request_id == "trace-me"
    assert logged[reply["prediction_ids"][1]].row["garden"] is None
    service.wait(lambda: service.metric("inference_prediction_spool_rows") == 0)
    # Two rows and one request.
    assert service.metric("inference_predictions_logged_total") == 3
    assert service.metric("inference_prediction_spool_bytes") == 0


def test_every_request_to_a_use_case_is_logged_also_a_refused_one(lab):
    version = lab.publish("houses").version
    service = lab.serve()
    ask = partial(service.http.post, headers={"X-Request-ID": "mine"})
    reply = ask("/predict", json={"rows": [EXAMPLE, EXAMPLE]})
    assert 0 < reply.json()["processing_ms"] < 60_000
    ask("/predict/houses", json={})
    ask("/predict/houses", content=b"area")
    ask("/invocations", json={"inputs": [EXAMPLE]})
    ask("/v2/models/houses/infer", json={"inputs": []})
    ask("/explain", json=EXAMPLE)
    ask("/feedback", json={"prediction_id": "0" * 32, "actual": 5})
    # No use case: neither is logged.
    ask("/predict/castles", json=EXAMPLE)
    service.http.get("/models")
    logged = service.wait(lambda: len(lab.requests()) == 7 and lab.requests())
    assert [(r.kind, r.status, r.error, r.rows) for r in logged] == [
        ("predict", 200, None, 2),
        ("predict", 422, "contract", 0),
        ("predict", 415, "content_type", 0),
        ("invocations", 200, None, 1),
        ("infer", 422, "contract", 0),
        ("explain", 200, None, 0),
        ("feedback", 202, None, 0),
    ]
    assert {(r.use_case, r.version, r.request_id) for r in logged} == {("houses", version, "mine")}
    assert all(0 < r.milliseconds < 60_000 for r in logged)


@pytest.mark.parametrize("path", ["/predict/houses", "/invocations/houses", "/v2/models/houses/infer"])
def test_a_retry_with_the_same_key_is_logged_once_and_gets_the_same_ids(lab, path):
    lab.publish("houses")
    service = lab.serve()
    inputs = [
        {"name": f.name, "datatype": "BYTES", "shape": [1], "data": [str(f.example)]} for f in models.FEATURES
    ]
    body = {"/predict/houses": {"rows": [EXAMPLE]}, "/invocations/houses": {"inputs": [EXAMPLE]}}.get(path)

    def ask(key: str | None, **changes) -> str:
        content = {"inputs": inputs} if body is None else body
        reply = service.http.post(
            path, json=content | changes, headers={"Idempotency-Key": key} if key else {}
        )
        assert reply.status_code == 200, reply.text
        found = reply.json()
        ids = found.get("prediction_ids") or next(
            o["data"] for o in found["outputs"] if o["name"] == "prediction_id"
        )
        return ids[0]

    first = ask("order-7")
    assert ask("order-7") == first
    others = {ask("order-8"), ask(None), ask(None)}
    assert len(others | {first}) == 4
    service.wait(lambda: len(lab.requests()) == 5)
    assert {p.id for p in lab.predictions()} == others | {first}
    assert (
        service.http.post(
            path, json=body or {"inputs": inputs}, headers={"Idempotency-Key": "x" * 201}
        ).status_code
        == 400
    )


def test_the_same_key_with_another_body_is_another_request(service):
    headers = {"Idempotency-Key": "order-7"}
    ids = {
        service.http.post("/predict/houses", json=EXAMPLE | {"rooms": rooms}, headers=headers).json()[
            "prediction_ids"
        ][0]
        for rooms in (1, 2, 1)
    }
    assert len(ids) == 2


def test_refused_rows_are_not_logged(lab):
    lab.publish("houses")
    service = lab.serve()
    service.http.post("/predict", json={"rows": [EXAMPLE, {}]})
    made = service.predict()["prediction_ids"]
    service.wait(lambda: [p.id for p in lab.predictions()] == made)


@pytest.mark.fault
@pytest.mark.process
def test_the_spool_survives_sigkill_and_an_unreachable_database(lab):
    """Entries from the second before the kill, while the database was down, are stored after the next start."""
    lab.publish("houses")
    RAW.drop_all(lab.database, LOG_TABLES)
    service = lab.start()
    made = set(service.http.post("/predict", json={"rows": models.raw_rows(300)}).json()["prediction_ids"])
    feedback = service.http.post("/feedback", json={"prediction_id": "0" * 32, "actual": 5}).json()[
        "feedback_id"
    ]
    service.wait(lambda: service.metric("inference_prediction_spool_rows") == 303)
    assert service.metric("inference_prediction_spool_bytes") > 0
    # It still predicts.
    assert service.predict()
    service.kill()
    RAW.create_all(lab.database, LOG_TABLES)
    again = lab.serve()
    again.wait(lambda: made <= {p.id for p in lab.predictions()})
    assert [f.id for f in lab.feedback()] == [feedback]


@pytest.mark.fault
def test_database_comes_back_while_the_service_runs(lab, caplog):
    lab.publish("houses")
    RAW.drop_all(lab.database, LOG_TABLES)
    service = lab.serve()
    made = service.predict()["prediction_ids"]
    service.wait(lambda: "the database can't store predictions" in caplog.text)
    RAW.create_all(lab.database, LOG_TABLES)
    service.wait(lambda: [p.id for p in lab.predictions()] == made)


@pytest.mark.fault
@pytest.mark.process
def test_two_replicas_share_a_spool_folder_and_take_over_a_killed_ones_entries(lab):
    lab.publish("houses")
    RAW.drop_all(lab.database, LOG_TABLES)
    one, two = lab.start(), lab.start()
    made = {service.predict()["prediction_ids"][0] for service in (one, two)}
    for service in (one, two):
        service.wait(lambda service=service: service.metric("inference_prediction_spool_rows") == 2)
        service.kill()
    RAW.create_all(lab.database, LOG_TABLES)
    third = lab.serve()
    third.wait(lambda: {p.id for p in lab.predictions()} == made)


def _entry(number: int, **values) -> dict:
    return {
        "table": "predictions",
        "id": f"{number:032x}",
        "use_case": "houses",
        "version": 1,
        "run_id": "r",
        "request_id": "q",
        "predicted_at": "2024-01-31T10:00:00.123456",
        "row": {"area": 1},
        "prediction": 2.5,
        "probabilities": None,
    } | values


def _made(number: int) -> PredictionEntry:
    return parse(orjson.dumps(_entry(number)))


@pytest.fixture
def database(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/RawData.db")
    RAW.create_all(engine)
    yield engine
    engine.dispose()


def _ids(database) -> list[int]:
    with database.connect() as db:
        return [int(row.id, 16) for row in db.execute(select(Prediction).order_by(Prediction.id))]


def _left(folder, *lines: bytes, suffix: str = ".jsonl") -> None:
    """The segment of a killed replica."""
    (folder / "0").mkdir(parents=True)
    (folder / "0" / f"00000000000000000001-1-1{suffix}").write_bytes(b"".join(lines))


def test_sending_twice_stores_once(tmp_path, database):
    with database.begin() as db:
        entry = _entry(1)
        del entry["table"], entry["predicted_at"]
        db.execute(insert(Prediction).values(**entry, predicted_at=models.datetime(2024, 1, 31)))
    # An earlier version of the service named its unfinished segment so.
    suffix = ".jsonl.open"
    _left(tmp_path / "spool", *(orjson.dumps(_entry(n)) + b"\n" for n in (1, 2, 2, 3)), suffix=suffix)
    log = PredictionLog(tmp_path / "spool", database, 2**20)
    assert log.spooled()[1] == 4
    log.start()
    log.stop(SLACK)
    assert _ids(database) == [1, 2, 3]
    assert log.spooled() == (0, 0)


@pytest.mark.fault
def test_a_line_cut_short_by_a_kill_loses_only_itself(tmp_path, database):
    line = orjson.dumps(_entry(1)) + b"\n"
    _left(tmp_path / "spool", line, orjson.dumps(_entry(2))[:30])
    log = PredictionLog(tmp_path / "spool", database, 2**20)
    log.start()
    log.stop(SLACK)
    assert _ids(database) == [1]
    assert (log.logged, log.dropped) == (1, 1)


@pytest.mark.fault
def test_an_entry_that_the_database_refuses_does_not_hold_up_the_others(tmp_path, database):
    _left(
        tmp_path / "spool",
        *(orjson.dumps(e) + b"\n" for e in (_entry(1), _entry(2, version=2**63 + 5), _entry(3))),
    )
    log = PredictionLog(tmp_path / "spool", database, 2**20)
    log.start()
    log.stop(SLACK)
    assert _ids(database) == [1, 3]
    assert log.dropped == 1
    assert orjson.loads((tmp_path / "spool" / "0" / "refused").read_bytes())["id"] == f"{2:032x}"


def test_a_full_spool_drops_and_counts_but_takes_no_more_disk(tmp_path, database):
    RAW.drop_all(database)
    limit = 20_000
    log = PredictionLog(tmp_path / "spool", database, limit)
    log.start()
    for number in range(200):
        log.add(lines([_made(number)]), 1)
        log.flush()
    size, rows = log.spooled()
    assert limit < size < limit + 1000
    assert log.dropped == 200 - rows > 0
    with pytest.raises(SpoolError, match="full"):
        log.put(_made(999))
    RAW.create_all(database)
    log.stop(SLACK)
    assert len(_ids(database)) == rows


@pytest.mark.fault
def test_entries_in_memory_are_bounded_in_bytes_while_the_disk_cannot_be_written(
    tmp_path, database, monkeypatch
):
    monkeypatch.setattr(prediction_log, "MAX_WAITING", 20_000)
    log = PredictionLog(tmp_path / "spool", database, 2**20)
    # Without its threads nothing reaches the disk.
    for number in range(200):
        log.add(lines([_made(number)]), 1)
    assert 100 < log.dropped < 150
    log.start()
    log.stop(SLACK)
    assert _ids(database) == list(range(200 - log.dropped))


def test_refused_entries_take_a_bounded_part_of_the_spools_limit(tmp_path, database):
    faulty = [orjson.dumps(_entry(n, version=2**63 + 5)) + b"\n" for n in range(50)]
    _left(tmp_path / "spool", *faulty)
    refused = tmp_path / "spool" / "0" / "refused"
    log = PredictionLog(tmp_path / "spool", database, 20_000)
    log.start()
    log.stop(SLACK)
    assert log.dropped == 50
    assert 1_000 < refused.stat().st_size <= 2_000
    # A larger file, of an earlier version, counts as spool.
    refused.write_bytes(b"".join(faulty) * 2)
    log = PredictionLog(tmp_path / "spool", database, 20_000)
    with pytest.raises(SpoolError, match="full"):
        log.put(_made(999))
    log.start()
    log.stop(SLACK)


def test_numbers_beyond_64_bits_are_logged(lab):
    lab.publish("houses")
    service = lab.serve()
    made = service.predict()["prediction_ids"][0]
    key = {"lot": 10**25, "house": 2**64 - 1}
    service.http.post("/feedback", json={"prediction_id": made, "actual": 5, "group_key": key})
    service.wait(lambda: [f.group_key for f in lab.feedback()] == [{"lot": 1e25, "house": 2**64 - 1}])


def test_an_unusable_spool_is_an_error_at_the_start(tmp_path, database):
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(SpoolError, match="LAB_INFERENCE_SPOOL"):
        PredictionLog(tmp_path / "spool", database, 2**20)


def test_large_logs_are_stored_completely(tmp_path, database):
    log = PredictionLog(tmp_path / "spool", database, 2**26)
    log.start()
    for start in range(0, 12_000, 3000):
        log.add(lines([_made(n) for n in range(start, start + 3000)]), 3000)
        time.sleep(0.01)
    log.stop(SLACK)
    assert _ids(database) == list(range(12_000))


@pytest.mark.parametrize("kind", get_args(Entry))
def test_a_row_fits_the_statement_for_mysql(kind):
    """SQLAlchemy would name the places, and rows are tuples."""
    dialect = create_engine("mysql+pymysql://127.0.0.1/none").dialect
    row = tuple(f"'{name}'" for name in kind.__struct_fields__)
    assert (insert_statement(kind, dialect) % row).endswith(f"VALUES ({', '.join(row)})")
