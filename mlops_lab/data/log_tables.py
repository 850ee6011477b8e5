"""The tables in RawData that the inference service writes: prediction log, feedback, requests, notes on alerts."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from mlops_lab.data.database import now
from mlops_lab.data.raw_table import ID, RawTable


class Prediction(RawTable):
    """One predicted row. The table is the prediction log; the service writes it."""

    __tablename__ = "predictions"
    # Each index costs the log time, so there is one for all reads.
    __table_args__ = (Index("ix_predictions_use_case_predicted_at", "use_case", "predicted_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    use_case: Mapped[str] = mapped_column(String(40))
    version: Mapped[int] = mapped_column()
    run_id: Mapped[str] = mapped_column(String(32))
    request_id: Mapped[str] = mapped_column(String(64))
    predicted_at: Mapped[datetime] = mapped_column()
    row: Mapped[dict[str, Any]] = mapped_column(JSON, comment="the typed row as it was sent")
    prediction: Mapped[float | str | bool] = mapped_column(JSON, comment="a number, or a class")
    probabilities: Mapped[dict[str, float] | None] = mapped_column(JSON, default=None)


class ShadowPrediction(RawTable):
    """What a shadow predicted for a logged prediction's row. The service writes it.

    It is a table of its own, so that whatever reads `predictions` reads what callers were answered.
    """

    __tablename__ = "shadow_predictions"
    __table_args__ = (Index("ix_shadow_predictions_use_case_predicted_at", "use_case", "predicted_at"),)

    prediction_id: Mapped[str] = mapped_column(
        String(32), primary_key=True, comment="the champion's prediction"
    )
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="the shadow's")
    use_case: Mapped[str] = mapped_column(String(40))
    run_id: Mapped[str] = mapped_column(String(32), comment="the shadow's")
    predicted_at: Mapped[datetime] = mapped_column(comment="as the champion's prediction")
    prediction: Mapped[float | str | bool] = mapped_column(JSON, comment="a number, or a class")
    probabilities: Mapped[dict[str, float] | None] = mapped_column(JSON, default=None)


class Feedback(RawTable):
    """One ground truth that a caller sent for a prediction."""

    __tablename__ = "feedback"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    prediction_id: Mapped[str] = mapped_column(String(32), index=True)
    use_case: Mapped[str] = mapped_column(String(40))
    actual: Mapped[float | str | bool] = mapped_column(JSON, comment="the ground truth of the target")
    group_key: Mapped[Any | None] = mapped_column(
        JSON, default=None, comment="without it the row never becomes training data"
    )
    received_at: Mapped[datetime] = mapped_column()


class Request(RawTable):
    """One request to a model, also a refused or failed one. The service writes it."""

    __tablename__ = "requests"
    __table_args__ = (Index("ix_requests_use_case_received_at", "use_case", "received_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    request_id: Mapped[str] = mapped_column(
        String(64), index=True, comment="X-Request-ID; its predictions have it, too"
    )
    use_case: Mapped[str] = mapped_column(String(40))
    version: Mapped[int | None] = mapped_column(comment="that was served; null when there was none")
    kind: Mapped[str] = mapped_column(String(16), comment="predict, infer, invocations, explain or feedback")
    status: Mapped[int] = mapped_column(comment="of the reply")
    error: Mapped[str | None] = mapped_column(String(40), comment="the kind of error, as in the metrics")
    rows: Mapped[int] = mapped_column(comment="rows that were predicted")
    milliseconds: Mapped[float] = mapped_column(comment="from the request's headers read to its reply made")
    received_at: Mapped[datetime] = mapped_column()


class AlertNote(RawTable):
    """What a person did about an alert. Rows are only added; the inference service writes them for the System page."""

    __tablename__ = "alert_notes"

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True, init=False)
    alert: Mapped[str] = mapped_column(String(80), comment="its rule's name, which is also its runbook's")
    fingerprint: Mapped[str] = mapped_column(String(16), comment="Alertmanager's id of its labels")
    summary: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(String(12), comment="acknowledged or concluded")
    who: Mapped[str] = mapped_column(String(80))
    why: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default_factory=now)
