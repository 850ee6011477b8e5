"""What the pipeline reads of the prediction log."""

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from mlops_lab.data.database import connect, create
from mlops_lab.data.log_tables import Prediction
from mlops_lab.data.predictions import PredictionReader
from mlops_lab.data.tables import RAW

MOMENT = datetime(2026, 5, 1, tzinfo=UTC).replace(tzinfo=None)


def test_the_newest_predictions_are_those_of_the_newest_time_whatever_their_ids_are(tmp_path):
    raw = connect(f"sqlite:///{tmp_path}/raw.db")
    create(RAW, raw)
    # With an Idempotency-Key an id is a hash.
    with Session(raw) as db:
        for hour, id_ in enumerate(["f" * 32, "0" * 32, "7" * 32]):
            at = MOMENT + timedelta(hours=hour)
            facts = {"use_case": "flats", "version": 1, "run_id": "1", "request_id": "1", "prediction": 1.0}
            db.add(Prediction(id=id_, predicted_at=at, row={"area": hour}, **facts))
        db.commit()
    assert PredictionReader(raw).latest("flats", 2) == [{"area": 2}, {"area": 1}]
