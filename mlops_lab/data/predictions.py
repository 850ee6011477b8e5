"""The prediction log and its feedback, as the pipeline reads them. The service writes these tables."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, or_, select
from sqlalchemy.orm import Session, aliased, sessionmaker

from mlops_lab.data.log_tables import Feedback, Prediction, ShadowPrediction

# Ground truths of one prediction that are shown.
FEEDBACK = 10
# Not by id alone: those of requests with an Idempotency-Key don't begin with their time. An index has this order.
_NEWEST = (Prediction.predicted_at.desc(), Prediction.id.desc())


@dataclass(frozen=True)
class Labelled:
    """A logged prediction whose ground truth came.

    id: the prediction's; for a shadow's, that of the champion's prediction for the same row. at: when it was made, UTC.
    group: predictions of one group belong together, such as those of one patient: the group key of the feedback, and
    without one the prediction's own id.
    """

    id: str
    at: datetime
    group: str
    prediction: float | str | bool
    probabilities: dict[str, float] | None
    actual: float | str | bool


@dataclass(frozen=True)
class Logged:
    """A logged prediction. feedback: every ground truth that came for it, at most `FEEDBACK`, oldest first."""

    prediction: Prediction
    feedback: list[Feedback]


class PredictionReader:
    """Reads `predictions`, `shadow_predictions` and `feedback` of RawData."""

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

    def logged(self, prediction_id: str) -> Logged | None:
        """One prediction with its newest feedback."""
        with self._session() as db:
            found = db.get(Prediction, prediction_id)
            return _with_feedback(db, [found])[0] if found else None

    def newest(self, use_case: str, limit: int, before: str | None = None) -> list[Logged] | None:
        """The newest predictions of all versions, newest first, with their newest feedback.

        before: only older ones than this prediction; None is returned when it isn't logged.
        """
        found = select(Prediction).where(Prediction.use_case == use_case).order_by(*_NEWEST).limit(limit)
        with self._session() as db:
            if before is not None:
                last = db.get(Prediction, before)
                if last is None:
                    return None
                at = last.predicted_at
                # The second condition alone would do. With the first one, an index is read from the right place on.
                found = found.where(
                    Prediction.predicted_at <= at,
                    or_(Prediction.predicted_at < at, Prediction.id < before),
                )
            return _with_feedback(db, list(db.scalars(found)))

    def latest(self, use_case: str, limit: int) -> list[dict[str, Any]]:
        """The rows of the newest predictions, of all versions, newest first."""
        found = select(Prediction.row).where(Prediction.use_case == use_case)
        with self._session() as db:
            return list(db.scalars(found.order_by(*_NEWEST).limit(limit)))

    def labelled(
        self, use_case: str, version: int, run_id: str, limit: int, shadow: bool = False
    ) -> list[Labelled]:
        """A version's newest predictions whose ground truth came; shadow: those that it made as a shadow.

        run_id: the version's run. After `lab reset` versions are counted from 1 again, and the log stays.
        When more than one value came for a prediction, the last one counts.
        """
        table, key = _source(shadow)
        last = (
            select(Feedback.prediction_id, func.max(Feedback.received_at).label("at"))
            .where(Feedback.use_case == use_case)
            .group_by(Feedback.prediction_id)
            .subquery()
        )
        found = (
            select(
                key.label("id"),
                table.predicted_at,
                table.prediction,
                table.probabilities,
                Feedback.actual,
                Feedback.group_key,
            )
            .join(Feedback, Feedback.prediction_id == key)
            .join(
                last, (last.c.prediction_id == Feedback.prediction_id) & (last.c.at == Feedback.received_at)
            )
            .where(table.use_case == use_case, table.version == version, table.run_id == run_id)
        )
        with self._session() as db:
            rows = db.execute(found.order_by(table.predicted_at.desc(), key.desc()).limit(limit)).all()
        # Two values in the same millisecond count once.
        return list({row.id: _labelled(row) for row in rows}.values())

    def labelled_versions(self, use_case: str) -> list[tuple[int, str, bool]]:
        """(version, run, whether as a shadow) of every version with ground truth, by version."""
        found: set[tuple[int, str, bool]] = set()
        with self._session() as db:
            for shadow in (False, True):
                table, key = _source(shadow)
                query = select(table.version, table.run_id).join(Feedback, Feedback.prediction_id == key)
                rows = db.execute(query.where(table.use_case == use_case).distinct())
                found |= {(row.version, row.run_id, shadow) for row in rows}
        return sorted(found)

    def since(self, use_case: str, moment: datetime) -> bool:
        """Whether a prediction was made, or a ground truth came, after the moment (UTC)."""
        predicted = select(Prediction.id).where(
            Prediction.use_case == use_case, Prediction.predicted_at > moment
        )
        labelled = select(Feedback.id).where(Feedback.use_case == use_case, Feedback.received_at > moment)
        with self._session() as db:
            return any(db.scalar(found.limit(1)) is not None for found in (predicted, labelled))


def _with_feedback(db: Session, predictions: list[Prediction]) -> list[Logged]:
    """The predictions, each with its newest feedback."""
    newest = func.row_number().over(
        partition_by=Feedback.prediction_id, order_by=(Feedback.received_at.desc(), Feedback.id.desc())
    )
    asked = Feedback.prediction_id.in_([prediction.id for prediction in predictions])
    numbered = select(Feedback, newest.label("number")).where(asked).subquery()
    kept = aliased(Feedback, numbered)
    came: dict[str, list[Feedback]] = {prediction.id: [] for prediction in predictions}
    found = select(kept).where(numbered.c.number <= FEEDBACK).order_by(kept.received_at, kept.id)
    for feedback in db.scalars(found):
        came[feedback.prediction_id].append(feedback)
    return [Logged(prediction, came[prediction.id]) for prediction in predictions]


def _source(shadow: bool) -> tuple[Any, Any]:
    """The table, and its column with the id that feedback names."""
    return (ShadowPrediction, ShadowPrediction.prediction_id) if shadow else (Prediction, Prediction.id)


def _labelled(row: Row[*tuple[Any, ...]]) -> Labelled:
    group = json.dumps(row.group_key, sort_keys=True) if row.group_key else row.id
    return Labelled(row.id, row.predicted_at, group, row.prediction, row.probabilities, row.actual)
