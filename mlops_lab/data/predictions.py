"""What was served, as the pipeline reads it: the prediction log, its feedback, and what monitoring found in them."""

from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, insert, select

from mlops_lab.data.store import now
from mlops_lab.data.tables import CHECKS, FEEDBACK, PREDICTIONS


class Served:
    """Reads `predictions` and `feedback` of RawData, which the service writes; reads and writes `checks`."""

    def __init__(self, raw: Engine):
        self._raw = raw

    def prediction(self, prediction_id: str) -> Row | None:
        with self._raw.connect() as db:
            return db.execute(select(PREDICTIONS).where(PREDICTIONS.c.id == prediction_id)).one_or_none()

    def feedback_of(self, prediction_id: str) -> list[Row]:
        """Every true value that came for a prediction, oldest first."""
        found = select(FEEDBACK).where(FEEDBACK.c.prediction_id == prediction_id)
        with self._raw.connect() as db:
            return list(db.execute(found.order_by(FEEDBACK.c.received_at)))

    def latest(self, use_case: str, most: int) -> list[dict[str, Any]]:
        """The rows of the newest predictions, whatever version made them, newest first."""
        found = select(PREDICTIONS.c.row).where(PREDICTIONS.c.use_case == use_case)
        with self._raw.connect() as db:
            # An id begins with its time and is the primary key: no sorting, however long the log.
            return list(db.scalars(found.order_by(PREDICTIONS.c.id.desc()).limit(most)))

    def answered(self, use_case: str, version: int, most: int) -> list[Row]:
        """A version's newest predictions whose true value came: prediction, probabilities, actual.

        When more than one value came for a prediction, the last one counts.
        """
        last = (
            select(FEEDBACK.c.prediction_id, func.max(FEEDBACK.c.received_at).label("at"))
            .where(FEEDBACK.c.use_case == use_case)
            .group_by(FEEDBACK.c.prediction_id)
            .subquery()
        )
        found = (
            select(PREDICTIONS.c.id, PREDICTIONS.c.prediction, PREDICTIONS.c.probabilities, FEEDBACK.c.actual)
            .join(FEEDBACK, FEEDBACK.c.prediction_id == PREDICTIONS.c.id)
            .join(
                last,
                (last.c.prediction_id == FEEDBACK.c.prediction_id) & (last.c.at == FEEDBACK.c.received_at),
            )
            .where(PREDICTIONS.c.use_case == use_case, PREDICTIONS.c.version == version)
        )
        with self._raw.connect() as db:
            rows = list(db.execute(found.order_by(PREDICTIONS.c.id.desc()).limit(most)))
        return list({row.id: row for row in rows}.values())  # two values in the same millisecond count once

    def since(self, use_case: str, moment: datetime) -> bool:
        """Whether a prediction was made, or a true value came, after the moment (UTC)."""
        asked = select(PREDICTIONS.c.id).where(
            PREDICTIONS.c.use_case == use_case, PREDICTIONS.c.predicted_at > moment
        )
        told = select(FEEDBACK.c.id).where(FEEDBACK.c.use_case == use_case, FEEDBACK.c.received_at > moment)
        with self._raw.connect() as db:
            return any(db.scalar(found.limit(1)) is not None for found in (asked, told))

    def put_check(self, **values: Any) -> None:
        """Writes down what one look at a use case found."""
        with self._raw.begin() as db:
            db.execute(insert(CHECKS).values(checked_at=now(), **values))

    def last_check(self, use_case: str, *, asked: bool = False) -> Row | None:
        """The newest look; `asked`: the newest one that asked for a training."""
        found = select(CHECKS).where(CHECKS.c.use_case == use_case)
        if asked:
            found = found.where(CHECKS.c.retrain)
        with self._raw.connect() as db:
            return db.execute(found.order_by(CHECKS.c.id.desc()).limit(1)).one_or_none()
