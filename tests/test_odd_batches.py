"""An odd batch costs at most itself: it is quarantined, skipped, refused or closed as broken, and the loop goes on."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import event
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

from mlops_lab import Integer
from mlops_lab.data import database
from mlops_lab.data.database import StoreError
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.payload import BrokenBatchError
from mlops_lab.data.turns import BusyError, Turns
from mlops_lab.data.use_case_tables import raw_tables
from mlops_lab.errors import LabError, ModelError
from mlops_lab.loop import run_batch, run_loop
from mlops_lab.model.registry import CHAMPION
from mlops_lab.steps.attempts import attempt, retry
from mlops_lab.steps.decide import decide
from mlops_lab.steps.ingest import finish, fruitless, land, prepare, validate
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.fault
def test_odd_values_go_to_quarantine_and_odd_payloads_are_broken(trained, use_case, course, monkeypatch):
    features = [Integer("floor") if f.name == "floor" else f for f in use_case.features]
    names = [column.name for column in use_case.columns]
    rows = [dict(zip(names, row, strict=True)) for row in flats(600)]
    odd = {
        "floor": (1e30, 10**19),
        "district": ("\ud800", {"\ud800": "\ud800"}),
        "built": ("2020-01-01\udfff",),
    }
    for column, values in odd.items():
        rows += [rows[0] | {column: value} for value in values]
    rows += [rows[0] | {"\ud800": 1}, [1, 2], rows[0] | {"area": " " * 100_000}]
    nested = json.dumps(batch(4, rows[:9]))[:-2] + ', {"area": ' + "[" * 900 + "]" * 900 + "}]}"
    course.will_answer(
        batch(2, rows),
        (200, b'{"batch_number": 3, "data": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"),
        (200, nested.encode()),
        batch(10**25, rows[:9]),
        batch(5, flats(50)),
        END,
    )

    def between(*arguments):
        with pytest.raises(BusyError):
            Turns(trained.settings.home / "incoming").hold("flats").__enter__()
        return fruitless(*arguments)

    monkeypatch.setattr("mlops_lab.loop.fruitless", between)
    run_loop(trained, replace(use_case, features=features))
    found = [(b.batch_number, b.state, b.quarantined) for b in trained.ledger.batches("flats")[1:]]
    assert found == [
        (2, "done", 7),
        (3, "broken", None),
        (4, "done", 1),
        (None, "broken", None),
        (5, "done", 0),
    ]


def test_a_gap_is_counted_from_the_greatest_number(lab, use_case):
    lab.store.prepare_tables(use_case)
    gaps = {}
    for number in (-5, 2, 1, 5, 4, None, 3, 6, 9):
        batch, new = lab.ledger.land("flats", f"digest {number}", number, "payload", "source")
        assert new
        gaps[number] = batch.gap
    assert {number: gap for number, gap in gaps.items() if gap} == {2: 1, 5: 2, 9: 2}


@pytest.mark.fault
def test_a_payload_that_two_processes_land_at_once_is_one_batch(lab, use_case, monkeypatch):
    lab.store.prepare_tables(use_case)
    other, first = Ledger(lab.store.raw), []

    def overtaken(*_):
        if not first:
            first.append(None)
            first.append(other.land("flats", "digest", 1, "payload", "source"))

    event.listen(Session, "before_flush", overtaken)
    try:
        found, new = lab.ledger.land("flats", "digest", 1, "payload", "source")
    finally:
        event.remove(Session, "before_flush", overtaken)
    assert (found, new) == (first[1][0], False)
    # On MySQL each query must see what others have committed, not the rows of the transaction's first one.
    asked, make = {}, database.create_engine
    monkeypatch.setattr(
        database, "create_engine", lambda url, **options: asked.update(options) or make(url, **options)
    )
    database.connect("mysql+pymysql://lab@127.0.0.1/RawData")
    assert asked["isolation_level"] == "READ COMMITTED"


def test_texts_of_any_length_fit_into_mysql(use_case):
    for table in raw_tables(use_case):
        ddl = str(CreateTable(table).compile(dialect=mysql.dialect()))
        assert " TEXT" not in ddl
        assert ddl.count("LONGTEXT") == (6 if table.name == "flats_raw" else 2)


@pytest.mark.fault
def test_a_batch_that_fails_three_times_is_closed_and_opened_again_after_a_mend(
    trained, use_case, course, monkeypatch
):
    def clean(frame):
        raise ValueError("rent\ud800")

    def away(*_):
        raise StoreError("the database is away")

    faulty, ledger = replace(use_case, clean=clean), trained.ledger
    course.will_answer(batch(2, flats(50)), batch(3, flats(60)), END)
    for fault in (away, killed):  # no fault of the batch
        with monkeypatch.context() as patch:
            patch.setattr("mlops_lab.loop.prepare", fault)
            with pytest.raises((StoreError, KeyboardInterrupt)):
                run_batch(trained, use_case)
    assert ledger.batches("flats")[1].attempts == 0
    for count in (1, 2):
        with pytest.raises(ValueError, match="rent"):
            run_batch(trained, faulty)
        with (
            pytest.raises(ValueError, match="rent"),
            attempt(trained, 2),
        ):  # as when Airflow tries a task again
            prepare(trained, faulty, 2)
        assert (ledger.batch(2).state, ledger.batch(2).attempts) == ("stored", count)
    with pytest.raises(BrokenBatchError, match=r"batch 2 failed 3 times.*ValueError.*`lab retry flats`"):
        run_batch(trained, faulty)
    assert (ledger.batch(2).state, ledger.batch(2).fault) == ("broken", "ValueError: rent\\ud800")

    # The loop goes on, and after a mend the batch is taken up again.
    assert run_batch(trained, use_case).batch_number == 3
    with pytest.raises(LabError, match="flats has no broken or held batch 3"):
        retry(trained, use_case, 3)
    assert retry(trained, use_case) == 1
    assert land(trained, use_case).id == 2
    with pytest.raises(ValueError, match="Airflow"), attempt(trained, 2):
        raise ValueError("Airflow tries the task again")
    for step in (validate, prepare, decide, finish):
        step(trained, use_case, 2)
    entry = ledger.batch(2)
    assert (entry.state, entry.clean, entry.duplicates, entry.fault) == ("done", 0, 50, None)


def test_batches_that_do_not_suffice_for_a_first_champion_are_skipped(lab, use_case, course):
    same = [[*row[:-1], 700] for row in flats(300)]
    course.will_answer(batch(1, same[:2]), batch(2, same[2:]), batch(3, flats(300, seed=1)), END)
    few, one_value = run_batch(lab, use_case), run_batch(lab, use_case)
    assert (few.outcome, one_value.outcome) == (None, None)
    assert "rows yet; it takes more data" in few.reason
    assert "training rows have the same rent so far" in one_value.reason
    assert run_batch(lab, use_case).outcome.promoted
    assert [(b.state, b.decision) for b in lab.ledger.batches("flats")] == [
        ("done", "skip"),
        ("done", "skip"),
        ("done", "train"),
    ]


def test_a_batch_whose_candidates_are_all_refused_ends_with_the_reasons(
    trained, use_case, course, monkeypatch
):
    def refused(*_, **__):
        raise ModelError("refused: ONNX differs from the pipeline")

    before = trained.registry.aliases("flats")[CHAMPION]
    course.will_answer(batch(2, flats(300, seed=4)), batch(3, flats(300, seed=5)), END)
    with monkeypatch.context() as patch:
        patch.setattr("mlops_lab.model.train.learn", refused)
        outcome = run_batch(trained, use_case).outcome
    reason = "no candidate can be served: refused: ONNX differs from the pipeline"
    assert (outcome.promoted, outcome.version, outcome.reason) == (False, None, reason)
    entry = trained.ledger.batches("flats")[1]
    assert (entry.state, entry.reason) == ("done", reason)
    tags = trained.registry.client.get_run(entry.mlflow_run).data.tags
    assert (tags["lab.outcome"], tags["lab.outcome_reason"]) == ("refused", reason)
    assert trained.registry.aliases("flats")[CHAMPION] == before
    assert run_batch(trained, use_case).batch_number == 3


def test_a_model_that_can_not_be_loaded_never_becomes_a_version(trained, use_case, course, monkeypatch):
    def spoilt(contract, folder):
        (folder / "contract.json").write_text(
            contract.model_dump_json().replace('"rmse":', '"rmse":null,"x":')
        )

    monkeypatch.setattr("mlops_lab.contract.Contract.save", spoilt)
    before = len(trained.registry.versions("flats"))
    course.will_answer(batch(2, flats(300, seed=4)), END)
    outcome = run_batch(trained, use_case).outcome
    assert "no candidate can be served: contract.json isn't a contract" in outcome.reason
    assert len(trained.registry.versions("flats")) == before
