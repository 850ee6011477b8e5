"""`lab trace`: from a served prediction back to its payloads, with the log that the real service writes."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from inference.log_entries import PredictionEntry
from inference.prediction_log import PredictionLog
from inference.spool import lines
from mlops_lab import trace
from mlops_lab.cli import app
from mlops_lab.data.database import connect, now
from mlops_lab.data.log_tables import Feedback
from mlops_lab.errors import ModelError
from mlops_lab.loop import run_batch
from mlops_lab.model.registry import CHAMPION
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")

PREDICTION = "0197f0c0ffee" + "ab" * 10
ROW = {"area": 50, "floor": 2, "district": "north", "balcony": True, "built": "1990-05-15"}


@pytest.fixture
def served(trained, use_case, course, tmp_path):
    """The lab after two batches, the second without a training, and one logged prediction of its champion."""
    lab = trained
    course.will_answer(batch(2, flats(20)))
    run_batch(lab, use_case)
    champion = lab.registry.by_alias("flats", CHAMPION)
    log = PredictionLog(tmp_path / "spool", connect(lab.settings.raw_url), 10**6)
    log.start()
    log.add(
        lines(
            [
                PredictionEntry(
                    id=PREDICTION,
                    use_case="flats",
                    version=champion.version,
                    run_id=champion.run_id,
                    request_id="request-7",
                    predicted_at=now(),
                    row=ROW,
                    prediction=640.5,
                    probabilities=None,
                )
            ]
        ),
        1,
    )
    log.stop()
    with lab.store.raw.begin() as db:
        db.execute(insert(Feedback).values(
            id="f" * 32, prediction_id=PREDICTION, use_case="flats", actual=655.5, received_at=now()
        ))  # fmt: skip
    return lab


def test_a_prediction_leads_to_its_model_run_batch_and_payload(served):
    found = trace.trace_prediction(served, PREDICTION)
    assert found["prediction"]["row"] == ROW
    assert found["prediction"]["request_id"] == "request-7"
    assert [f["actual"] for f in found["prediction"]["feedback"]] == [655.5]
    champion = served.registry.by_alias("flats", CHAMPION)
    assert (found["model"]["version"], found["model"]["run_id"]) == (champion.version, champion.run_id)
    assert found["model"]["champion"] is True
    assert found["model"]["digest"] == champion.digest
    [learnt] = found["batches"]  # the second batch came after the model
    assert (learnt["batch_number"], learnt["received"]) == (1, 600)
    assert champion.version in learnt["versions"]
    payload = Path(learnt["payload"])
    assert payload.stat().st_size == learnt["payload_bytes"]
    assert json.loads(payload.read_bytes())["batch_number"] == 1
    output = "\n".join(trace.lines(found))
    for words in ("prediction 0197f0c0ffee", "request-7", "ground truth 655.5", "the champion", str(payload)):
        assert words in output

    with pytest.raises(trace.TraceError, match="has no prediction 'nothing'"):
        trace.trace_prediction(served, "nothing")

    served.artifacts.delete("payloads/flats")  # a lost payload is named, not fatal
    [learnt] = trace.trace_prediction(served, PREDICTION)["batches"]
    assert learnt["payload_bytes"] is None
    assert "can't read payloads/flats" in learnt["payload_fault"]


def test_the_command_follows_predictions_and_batches(served, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(served.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(served.settings.use_cases))
    monkeypatch.setenv("COLUMNS", "200")

    def lab(*arguments: str, status: int = 0) -> Result:
        done = CliRunner().invoke(app, ["trace", *arguments])
        assert done.exit_code == status, (done.output, done.exception)
        return done

    assert json.loads(lab(PREDICTION, "--json").stdout)["batches"][0]["batch_number"] == 1
    said = lab("--batch", "2").stdout
    assert "batch 2 (ledger 2, done): 20 received" in said
    assert "versions trained: none" in said
    assert "a batch by its id in the ledger: `id` in `lab status --json`" in lab(status=1).stderr
    assert "no batch of the id 99; `lab status --json` has the ids" in lab("--batch", "99", status=1).stderr


def test_a_prediction_of_a_version_that_was_reset_leads_to_no_other_one(served):
    with served.store.raw.begin() as db:
        db.exec_driver_sql("UPDATE predictions SET run_id = 'earlier'")
    with pytest.raises(ModelError, match="was removed by `lab reset flats`"):
        trace.trace_prediction(served, PREDICTION)
