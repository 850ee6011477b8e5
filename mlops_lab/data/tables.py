"""The loop's tables in RawData: ledger, models, promotions, checks, live scores, notices."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from mlops_lab.data import log_tables  # noqa: F401 (its tables are in RAW, too)
from mlops_lab.data.database import StoreError, now
from mlops_lab.data.raw_table import ID, RawTable

# All tables of the lab's own: those of this file, and those of the log.
RAW = RawTable.metadata


class Batch(RawTable):
    """One payload of the Data API. The table is the batch ledger."""

    __tablename__ = "batches"
    __table_args__ = (UniqueConstraint("use_case", "digest"),)

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True, init=False)
    use_case: Mapped[str] = mapped_column(String(40))
    batch_number: Mapped[int | None] = mapped_column(
        default=None, comment="the payload's own number; null when it can't be read"
    )
    digest: Mapped[str] = mapped_column(
        String(64), comment="sha256 of the whole payload; the same payload is one batch"
    )
    payload: Mapped[str] = mapped_column(String(255), comment="path in the bucket api-artifacts")
    source: Mapped[str] = mapped_column(String(255))
    landed_at: Mapped[datetime] = mapped_column(default_factory=now)
    gap: Mapped[int] = mapped_column(default=0, comment="missing batches between the one before and this one")
    state: Mapped[str] = mapped_column(
        String(20), default="landed", comment="landed, stored, prepared, decided, done, broken, held"
    )
    fault: Mapped[str | None] = mapped_column(
        Text, default=None, comment="why a batch is broken or held, or failed the last time"
    )
    attempts: Mapped[int] = mapped_column(default=0, comment="runs of the loop that this batch made fail")
    received: Mapped[int | None] = mapped_column(default=None)
    quarantined: Mapped[int | None] = mapped_column(default=None)
    stored: Mapped[int | None] = mapped_column(default=None, comment="rows in <use_case>_raw")
    dropped: Mapped[int | None] = mapped_column(default=None, comment="by cleaning")
    duplicates: Mapped[int | None] = mapped_column(
        default=None, comment="clean rows that were already stored"
    )
    clean: Mapped[int | None] = mapped_column(default=None, comment="new rows in <use_case>_clean")
    snapshot: Mapped[str | None] = mapped_column(
        String(255),
        default=None,
        comment="path in the bucket of these rows as Parquet; null until it is made",
    )
    snapshot_digest: Mapped[str | None] = mapped_column(
        String(64), default=None, comment="sha256 of the snapshot's bytes"
    )
    decision: Mapped[str | None] = mapped_column(String(10), default=None, comment="train or skip")
    reason: Mapped[str | None] = mapped_column(Text, default=None)
    mlflow_run: Mapped[str | None] = mapped_column(String(32), default=None)
    payload_deleted_at: Mapped[datetime | None] = mapped_column(
        default=None, comment="when retention deleted the payload; null while it is kept"
    )
    checks: Mapped[list[dict[str, Any]] | None] = mapped_column(
        JSON, default=None, comment="its named checks: name, outcome, text, figures"
    )
    accepted_by: Mapped[str | None] = mapped_column(
        String(80), default=None, comment="who let a held batch go on"
    )
    accepted_reason: Mapped[str | None] = mapped_column(Text, default=None)
    accepted_at: Mapped[datetime | None] = mapped_column(default=None)

    @property
    def run(self) -> str:
        """The id of its MLflow run. Raises `StoreError` before the batch is validated."""
        if self.mlflow_run is None:
            raise StoreError(
                f"batch {self.batch_number} of {self.use_case} isn't validated, so it has no run"
            )
        return self.mlflow_run


class Model(RawTable):
    """The lab's own record of a registered version, beside the registry's."""

    __tablename__ = "models"

    use_case: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(64), comment="sha256 over model.onnx and contract.json")
    run_id: Mapped[str] = mapped_column(String(32))
    batch_id: Mapped[int] = mapped_column(BigInteger, comment="the newest batch in its training data")
    registered_at: Mapped[datetime] = mapped_column(default_factory=now)


class Promotion(RawTable):
    """One decision on a challenger: promoted, refused, rolled back, or waiting for a person, who makes one more."""

    __tablename__ = "promotions"

    use_case: Mapped[str] = mapped_column(String(40), primary_key=True)
    sequence: Mapped[int] = mapped_column(
        primary_key=True, autoincrement=False, comment="two promotions at once: the second insert fails"
    )
    challenger: Mapped[int] = mapped_column()
    champion: Mapped[int | None] = mapped_column(
        default=None, comment="the champion that was challenged; null for a first one"
    )
    outcome: Mapped[str] = mapped_column(String(12), comment="promoted, refused, rolled back or waiting")
    reason: Mapped[str] = mapped_column(Text)
    metric: Mapped[str | None] = mapped_column(String(20), default=None)
    challenger_score: Mapped[float | None] = mapped_column(default=None)
    champion_score: Mapped[float | None] = mapped_column(default=None)
    interval_low: Mapped[float | None] = mapped_column(
        default=None, comment="95 % paired bootstrap of the gain"
    )
    interval_high: Mapped[float | None] = mapped_column(default=None)
    sureness: Mapped[float | None] = mapped_column(
        default=None, comment="share of the bootstrap resamples in which the challenger is better"
    )
    holdout_rows: Mapped[int | None] = mapped_column(default=None)
    holdout_digest: Mapped[str | None] = mapped_column(String(64), default=None)
    evidence: Mapped[str | None] = mapped_column(
        String(100),
        default=None,
        comment="MLflow run and file of the per-row scores; null without a comparison",
    )
    decided_by: Mapped[str | None] = mapped_column(
        String(80), default=None, comment="the person who decided; null when the policy did"
    )
    waits_until: Mapped[datetime | None] = mapped_column(
        default=None, comment="of a waiting one: then its default is what happens"
    )
    default_outcome: Mapped[str | None] = mapped_column(
        String(12), default=None, comment="of a waiting one: promoted or refused"
    )
    decided_at: Mapped[datetime] = mapped_column(default_factory=now)

    @property
    def said(self) -> str:
        """The reason in words; of a decision that waits, first until when, and how a person decides."""
        if self.waits_until is None:
            return self.reason
        then = "it is promoted" if self.default_outcome == "promoted" else "the champion is kept"
        commands = " or ".join(
            f"`lab {verb} {self.use_case} {self.challenger} --reason TEXT`" for verb in ("approve", "reject")
        )
        limit = f"{self.waits_until:%Y-%m-%d %H:%M} UTC"
        return f"a person decides until {limit}, then {then}: {commands}; {self.reason}"


class Check(RawTable):
    """The result of one run of monitoring. Two columns keep the names that they had in earlier releases."""

    __tablename__ = "checks"

    id: Mapped[int] = mapped_column(ID, primary_key=True, autoincrement=True, init=False)
    use_case: Mapped[str] = mapped_column(String(40), index=True)
    checked_at: Mapped[datetime] = mapped_column(default_factory=now)
    version: Mapped[int] = mapped_column(comment="the champion that was checked")
    rows: Mapped[int] = mapped_column(comment="logged predictions that were compared")
    psi: Mapped[float | None] = mapped_column(
        default=None, comment="of the feature that moved most; null below the policy's minimum of rows"
    )
    feature: Mapped[str | None] = mapped_column(String(64), default=None, comment="that feature")
    labelled: Mapped[int] = mapped_column(
        "answered", comment="predictions of this version with a ground truth"
    )
    metric: Mapped[str] = mapped_column(String(20))
    live_score: Mapped[float | None] = mapped_column(
        default=None, comment="on the labelled predictions; null when they are too few"
    )
    test_score: Mapped[float | None] = mapped_column(
        default=None, comment="on the test rows when it was trained"
    )
    estimated_score: Mapped[float | None] = mapped_column(
        default=None, comment="of the compared predictions, without ground truth; null when it can't be told"
    )
    estimated_low: Mapped[float | None] = mapped_column(default=None, comment="95 % of the draws")
    estimated_high: Mapped[float | None] = mapped_column(default=None)
    test_low: Mapped[float | None] = mapped_column(
        default=None, comment="95 % bootstrap interval of test_score"
    )
    test_high: Mapped[float | None] = mapped_column(default=None)
    estimated_worse: Mapped[bool | None] = mapped_column(
        default=None, comment="the estimate's interval is beyond the worse end of the test interval"
    )
    passed: Mapped[bool] = mapped_column(comment="a bound was passed")
    retrain: Mapped[bool] = mapped_column(default=False, comment="a training was requested")
    reason: Mapped[str] = mapped_column(Text)
    batch_id: Mapped[int | None] = mapped_column(
        BigInteger, default=None, comment="the newest batch at that time"
    )
    run_id: Mapped[str | None] = mapped_column(
        "mlflow_run", String(32), default=None, comment="the MLflow run with the report"
    )

    @property
    def estimate(self) -> str:
        """The estimated score in words; empty without one."""
        if self.estimated_score is None:
            return ""
        return (
            f"{self.metric} {self.estimated_score:.4g} on {self.rows:,} predictions, ground truth unknown "
            f"({self.estimated_low:.4g} to {self.estimated_high:.4g}); {self.test_low:.4g} to {self.test_high:.4g} "
            f"on test rows{', so it is worse' if self.estimated_worse else ''}"
        )


class LiveScore(RawTable):
    """The score of one version on its labelled predictions, at the newest check. Each check replaces those before."""

    __tablename__ = "live_scores"

    use_case: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    arm: Mapped[str] = mapped_column(
        String(12), primary_key=True, comment="champion, canary, shadow; earlier: it answered before"
    )
    run_id: Mapped[str] = mapped_column(String(32))
    metric: Mapped[str] = mapped_column(String(20))
    labelled: Mapped[int] = mapped_column(comment="predictions with a ground truth")
    score: Mapped[float | None] = mapped_column(comment="null when they are too few")
    checked_at: Mapped[datetime] = mapped_column()

    def __str__(self) -> str:
        score = f"too few for a {self.metric}" if self.score is None else f"{self.metric} {self.score:.4g}"
        return f"version {self.version} ({self.arm}): {score} on {self.labelled:,} labelled predictions"


class Notice(RawTable):
    """A decision that people are told by `LAB_NOTIFY_URL`, so that each is told once."""

    __tablename__ = "notices"

    use_case: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(12), primary_key=True, comment="promotion, batch or check")
    key: Mapped[int] = mapped_column(
        ID, primary_key=True, autoincrement=False, comment="its sequence or id in that table"
    )
    claimed_at: Mapped[datetime] = mapped_column(
        default_factory=now, comment="when a process began to send it"
    )
    told_at: Mapped[datetime | None] = mapped_column(default=None, comment="null: under way, or it failed")
