"""What a step needs fails in each step once: the run ends with one line, and the next one goes on. Nothing is lost."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest
from sqlalchemy import text

from mlops_lab import loop
from mlops_lab.data.source import EndOfDataError
from mlops_lab.errors import ServiceError, foreign_errors_as_lines
from mlops_lab.lab import Lab
from mlops_lab.loop import run_batch
from mlops_lab.model.registry import CHAMPION
from mlops_lab.settings import Settings
from tests.support.data_api import END
from tests.support.flats import batch, flats

STEPS = ("land", "validate", "prepare", "decide", "train", "promote", "finish")
NOWHERE = "127.0.0.1:9"
# The settings of a lab of which one service is away. A file can't hold a bucket.
AWAY = {
    "RawData": {"raw_db_url": f"mysql+pymysql://lab:lab@{NOWHERE}/RawData"},
    "CleanData": {"clean_db_url": f"mysql+pymysql://lab:lab@{NOWHERE}/CleanData"},
    "MLflow": {"mlflow_url": f"http://{NOWHERE}"},
    "bucket": {"artifacts_url": __file__},
    "Data API": {"data_api_url": f"http://{NOWHERE}"},
}


@contextmanager
def without(lab: Lab, what: str) -> Iterator[Lab]:
    """The lab while that service is away, or while the disk takes no larger file than one of 20 KB."""
    if what != "disk":
        same = {name: getattr(lab.settings, name) for name in ("home", "use_cases", "data_api_url")}
        yield Lab(Settings(**same | AWAY[what]), lab.progress)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        yield lab
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.fault
@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize(
    ("what", "steps"),
    [
        ("RawData", STEPS),
        ("CleanData", ("land", "prepare", "decide")),
        ("MLflow", STEPS),
        ("bucket", ("land", "validate", "prepare", "decide", "promote")),
        ("Data API", ("land",)),
        ("disk", STEPS),
    ],
)
def test_a_fault_in_each_step_is_one_line_and_the_next_run_goes_on(
    lab, use_case, course, monkeypatch, what, steps
):
    course.will_answer(batch(1, flats(300)), END)
    one = replace(use_case, candidates=use_case.candidates[:1])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlops_lab.data.source.time.sleep", lambda _: None)
    under_way = []

    def with_its_fault(step: str):
        original = getattr(loop, step)

        def run(lab_of_loop, *arguments, **named):
            first = step not in under_way
            under_way.append(step)
            if not first:
                return original(lab_of_loop, *arguments, **named)
            with without(lab_of_loop, what) as faulty:
                return original(faulty, *arguments, **named)

        return run

    for step in STEPS:
        monkeypatch.setattr(loop, step, with_its_fault(step))
    for step in steps:
        with pytest.raises(ServiceError) as raised, foreign_errors_as_lines():
            run_batch(lab, one)
        assert len(str(raised.value).splitlines()) == 1
        assert under_way[-1] == step
    with suppress(EndOfDataError):  # MLflow failed when the batch was done already.
        run_batch(lab, one)

    [entry] = lab.ledger.batches("flats")
    found = entry.state, entry.attempts, entry.gap, entry.received, entry.stored, entry.clean
    assert found == ("done", 0, 0, 300, 300, 300)
    for engine, table in ((lab.store.raw, "flats_raw"), (lab.store.clean, "flats_clean")):
        with engine.connect() as db:
            assert db.scalar(text(f"SELECT COUNT(*) FROM {table}")) == 300
    assert lab.artifacts.list("payloads/flats") == [entry.payload]
    [version] = lab.ledger.models("flats")
    [decision] = lab.ledger.promotions("flats")
    assert lab.registry.aliases("flats")[CHAMPION] == decision.challenger == version
    lab.predictor(lab.champion("flats")).check_example()
    assert lab.tracking.open_runs("flats") == []
