"""The prediction log and its feedback, as the pipeline reads them. The service writes both tables."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, select
from sqlalchemy.orm import sessionmaker

from mlops_lab.data.tables import Feedback, Prediction


@dataclass(frozen=True)
class Labelled:
    """A logged prediction whose ground truth came.

    group: predictions of one group belong together, such as those of one patient: the group key of the feedback, and
    without one the prediction's own id.
    """

    group: str
    prediction: float | str | bool
    probabilities: dict[str, float] | None
    actual: float | str | bool


class PredictionReader:
    """Reads `predictions` and `feedback` of RawData."""

    def __init__(self, raw: Engine):
        self._session = sessionmaker(raw)

    def prediction(self, prediction_id: str) -> Prediction | None:
        with self._session() as db:
            return db.get(Prediction, prediction_id)

    def feedback_of(self, prediction_id: str) -> list[Feedback]:
        """Every ground truth that came for a prediction, oldest first."""
        found = select(Feedback).where(Feedback.prediction_id == prediction_id)
        with self._session() as db:
            return list(db.scalars(found.order_by(Feedback.received_at)))

    def latest(self, use_case: str, limit: int) -> list[dict[str, Any]]:
        """The rows of the newest predictions, of all versions, newest first."""
        found = select(Prediction.row).where(Prediction.use_case == use_case)
        with self._session() as db:
            # By the index, so the log needs no sorting, however long it is.
            return list(db.scalars(found.order_by(Prediction.predicted_at.desc()).limit(limit)))

    def labelled(self, use_case: str, version: int, run_id: str, limit: int) -> list[Labelled]:
        """A version's newest predictions whose ground truth came.

        run_id: the version's run. After `lab reset` versions are counted from 1 again, and the log stays.
        When more than one value came for a prediction, the last one counts.
        """
        last = (
            select(Feedback.prediction_id, func.max(Feedback.received_at).label("at"))
            .where(Feedback.use_case == use_case)
            .group_by(Feedback.prediction_id)
            .subquery()
        )
        found = (
            select(
                Prediction.id,
                Prediction.prediction,
                Prediction.probabilities,
                Feedback.actual,
                Feedback.group_key,
            )
            .join(Feedback, Feedback.prediction_id == Prediction.id)
            .join(
                last, (last.c.prediction_id == Feedback.prediction_id) & (last.c.at == Feedback.received_at)
            )
            .where(
                Prediction.use_case == use_case, Prediction.version == version, Prediction.run_id == run_id
            )
        )
        with self._session() as db:
            rows = db.execute(found.order_by(Prediction.predicted_at.desc()).limit(limit)).all()
        # Two values in the same millisecond count once.
        return list({row.id: _labelled(row) for row in rows}.values())

    def since(self, use_case: str, moment: datetime) -> bool:
        """Whether a prediction was made, or a ground truth came, after the moment (UTC)."""
        predicted = select(Prediction.id).where(
            Prediction.use_case == use_case, Prediction.predicted_at > moment
        )
        labelled = select(Feedback.id).where(Feedback.use_case == use_case, Feedback.received_at > moment)
        with self._session() as db:
            return any(db.scalar(found.limit(1)) is not None for found in (predicted, labelled))


def _labelled(row: Row[*tuple[Any, ...]]) -> Labelled:
    group = json.dumps(row.group_key, sort_keys=True) if row.group_key else row.id
    return Labelled(group, row.prediction, row.probabilities, row.actual)
