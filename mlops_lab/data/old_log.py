"""The old part of the prediction log and its feedback: counted, and deleted in chunks."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute

from mlops_lab.data.log_tables import Feedback, Prediction, Request, ShadowPrediction

# Rows in one transaction: the service goes on writing meanwhile, and waits for none of them long.
CHUNK = 2000


@dataclass(frozen=True)
class OldRows:
    """The old rows of a table. oldest: UTC; None when there are none."""

    count: int
    oldest: datetime | None


class OldLog:
    """One use case's log before two moments, UTC.

    before:          predictions are old when they were made before it, and no feedback that is kept belongs to them;
                     requests are old when they came before it. A shadow's prediction is as old as the champion's.
    feedback_before: feedback is old when it came before it.
    """

    def __init__(self, raw: Engine, use_case: str, before: datetime, feedback_before: datetime):
        self._raw = raw
        kept = Feedback.received_at >= feedback_before
        labelled = exists().where(Feedback.prediction_id == Prediction.id, kept)
        shadow_labelled = exists().where(Feedback.prediction_id == ShadowPrediction.prediction_id, kept)
        self._predictions = (Prediction.use_case == use_case) & (Prediction.predicted_at < before) & ~labelled
        shadows = ShadowPrediction
        self._shadows = (shadows.use_case == use_case) & (shadows.predicted_at < before) & ~shadow_labelled
        self._requests = (Request.use_case == use_case) & (Request.received_at < before)
        self._feedback = (Feedback.use_case == use_case) & (Feedback.received_at < feedback_before)

    def predictions(self) -> OldRows:
        return self._count(Prediction.predicted_at, self._predictions)

    def shadows(self) -> OldRows:
        return self._count(ShadowPrediction.predicted_at, self._shadows)

    def requests(self) -> OldRows:
        return self._count(Request.received_at, self._requests)

    def feedback(self) -> OldRows:
        return self._count(Feedback.received_at, self._feedback)

    def delete_predictions(self) -> int:
        """Deletes them and returns how many there were."""
        return self._delete(Prediction, Prediction.id, self._predictions)

    def delete_shadows(self) -> int:
        """Deletes them and returns how many there were."""
        return self._delete(ShadowPrediction, ShadowPrediction.prediction_id, self._shadows)

    def delete_requests(self) -> int:
        """Deletes them and returns how many there were."""
        return self._delete(Request, Request.id, self._requests)

    def delete_feedback(self) -> int:
        """Deletes it and returns how many values there were."""
        return self._delete(Feedback, Feedback.id, self._feedback)

    def _count(self, moment: InstrumentedAttribute[datetime], old: ColumnElement[bool]) -> OldRows:
        with self._raw.connect() as db:
            count, oldest = db.execute(select(func.count(), func.min(moment)).where(old)).one()
        return OldRows(count, oldest)

    def _delete(self, table: type[Any], key: InstrumentedAttribute[str], old: ColumnElement[bool]) -> int:
        deleted = 0
        while True:
            with self._raw.begin() as db:
                ids = list(db.scalars(select(key).where(old).limit(CHUNK)))
                db.execute(delete(table).where(key.in_(ids)))
            deleted += len(ids)
            if len(ids) < CHUNK:
                return deleted


def logged_use_cases(raw: Engine) -> list[str]:
    """The use cases that have predictions, requests or feedback, by name."""
    with raw.connect() as db:
        tables = (Prediction, ShadowPrediction, Request, Feedback)
        return sorted({name for table in tables for name in db.scalars(select(table.use_case).distinct())})
