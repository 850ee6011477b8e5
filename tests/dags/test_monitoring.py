"""The monitoring DAG and the training that it requests, on real Airflow (its own database, no scheduler)."""

import pytest

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("dags")]

RUN = """
import json, os, sys, uuid
from datetime import UTC, timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import monitoring, training
from airflow.models import DagRun
from airflow.utils.session import create_session
from sqlalchemy import insert, select
from mlops_lab.data.database import now
from mlops_lab.data.log_tables import Prediction
from mlops_lab.lab import Lab
from mlops_lab.settings import Settings

def ran(dag, **options):
    run = dag.test(**options)
    return {"state": str(run.state), "tasks": {ti.task_id: str(ti.state) for ti in run.get_task_instances()}}

runs = {"before": ran(monitoring.monitoring)}
os.environ["LAB_HOME"] = sys.argv[2]
logs = Path(os.environ["AIRFLOW_HOME"]) / "logs"
def log_file(name):
    file = logs / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("line")
    return file
old = [log_file("dag_id=flats_training/run_id=1/task_id=land/attempt=1.log"), log_file("dag_processor/2020/flats.log")]
for file in (*old, incoming := log_file("incoming/reply")):
    os.utime(file, (0, 0))
recent = log_file("dag_id=flats_training/run_id=2/task_id=land/attempt=1.log")
with create_session() as session:
    first = session.scalars(select(DagRun)).one()
    first.start_date, first_run = now().replace(year=2020, tzinfo=UTC), first.run_id
runs["quiet"] = ran(monitoring.monitoring)
with create_session() as session:
    runs["airflow"] = {
        "runs": [run.run_id == first_run for run in session.scalars(select(DagRun))],
        "files": [str(file.relative_to(logs)) for file in (*old, incoming, recent) if file.exists()],
        "folders": sorted(folder.name for folder in logs.glob("dag_id=flats_training/*")),
    }
lab = Lab(Settings(), progress=lambda _: None)
row = {"area": 400, "floor": 40, "district": "harbour", "balcony": True, "built": "2020-01-15"}
with lab.store.raw.begin() as db:
    db.execute(insert(Prediction), [
        {"id": uuid.uuid4().hex, "use_case": "flats", "version": 1, "run_id": "0" * 32, "request_id": "r",
         "predicted_at": now() - timedelta(days=100 if number == 300 else 0), "row": row, "prediction": 1.0}
        for number in range(301)])
runs["drifted"] = ran(monitoring.monitoring)
with lab.store.raw.connect() as db:
    runs["kept"] = len(list(db.scalars(select(Prediction.id))))
with create_session() as session:
    requested = select(DagRun.conf).where(DagRun.dag_id == "flats_training").order_by(DagRun.id.desc())
    runs["conf"] = session.scalars(requested).first()
versions = len(lab.registry.versions("flats"))
runs["retrained"] = ran(training.flats_training, run_conf=runs["conf"])
runs["new versions"] = len(lab.registry.versions("flats")) - versions
entry = lab.ledger.batches("flats")[-1]
runs["batch"] = [entry.id, entry.state, entry.decision, entry.reason]
print("RESULT" + json.dumps(runs))
"""


CLEANED = {"clean": "success", "clean_airflow": "success"}


@pytest.mark.timeout(600)
def test_drift_of_the_served_rows_leads_to_a_training_on_the_stored_rows(in_airflow, templates, tmp_path):
    templates.copy_trained(tmp_path / "trained")
    found = in_airflow(RUN, str(tmp_path / "trained"))
    # First no champion, then a champion and no prediction: both runs succeed and request no training.
    assert found["before"] == {
        "state": "success",
        "tasks": {"check_flats": "skipped", "train_flats": "skipped"} | CLEANED,
    }
    assert found["quiet"] == {
        "state": "success",
        "tasks": {"check_flats": "success", "train_flats": "skipped"} | CLEANED,
    }

    # Airflow's own history of before its last 30 days is gone. What the Data API sent and no batch has yet stays.
    assert found["airflow"] == {
        "runs": [False],
        "files": ["incoming/reply", "dag_id=flats_training/run_id=2/task_id=land/attempt=1.log"],
        "folders": ["run_id=2"],
    }

    assert found["drifted"]["tasks"] == {"check_flats": "success", "train_flats": "success"} | CLEANED
    # The one of a hundred days ago is gone.
    assert found["kept"] == 300
    assert found["conf"]["force"] is True
    assert "has drifted in the served rows" in found["conf"]["reason"]

    # The Data API has no new batch: the newest stored batch is trained on again, and its entry has the reason.
    assert found["retrained"]["state"] == "success"
    assert found["new versions"] == 2
    assert found["retrained"]["tasks"]["promote"] in ("success", "skipped")
    assert found["batch"] == [1, "done", "train", found["conf"]["reason"]]
