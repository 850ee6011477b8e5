"""The records of the loop in RawData, as metrics: batches, versions, promotions, monitoring checks, live scores."""

from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client.core import Metric
from sqlalchemy import Connection, func, select, tuple_

from mlops_lab.data.database import now
from mlops_lab.data.states import ENDED, UNFINISHED
from mlops_lab.data.tables import Batch, Check, LiveScore, Model, Promotion
from observability.exporter.metrics import counter, gauge

ROWS = ("received", "stored", "quarantined", "dropped", "duplicates", "clean")
USE_CASE = ("use_case",)


def batches(db: Connection) -> Iterator[Metric]:
    """The ledger: how many batches and rows, and how old."""
    states = select(Batch.use_case, Batch.state, func.count()).group_by(Batch.use_case, Batch.state)
    counts = {(use_case, state): count for use_case, state, count in db.execute(states)}
    # Each state has a sample, also 0: a series that isn't there means that the ledger can't be read.
    counts = {(use_case, state): 0 for use_case, _ in counts for state in (*UNFINISHED, *ENDED)} | counts
    numbers = [(*labels, count) for labels, count in counts.items()]
    yield gauge("lab_batches", "Batches in the ledger, by state", ("use_case", "state"), numbers)

    decided = select(Batch.use_case, Batch.decision, func.count()).where(Batch.decision.is_not(None))
    decisions = db.execute(decided.group_by(Batch.use_case, Batch.decision))
    about = "Batches that led to a training, and batches that did not"
    yield gauge("lab_decisions", about, ("use_case", "decision"), decisions)

    sums = [func.coalesce(func.sum(getattr(Batch, name)), 0).label(name) for name in (*ROWS, "gap")]
    totals = db.execute(select(Batch.use_case, *sums).group_by(Batch.use_case)).mappings().all()
    kinds = [(total["use_case"], kind, total[kind]) for total in totals for kind in ROWS]
    yield counter("lab_rows", "Rows of all batches, by kind", ("use_case", "kind"), kinds)
    gaps = [(total["use_case"], total["gap"]) for total in totals]
    yield gauge("lab_batches_missing", "Batches that never arrived", USE_CASE, gaps)

    newest = select(func.max(Batch.id)).group_by(Batch.use_case)
    last = db.execute(select(Batch).where(Batch.id.in_(newest))).all()
    landed = [(batch.use_case, _seconds(batch.landed_at)) for batch in last]
    yield gauge("lab_last_batch_timestamp_seconds", "When the newest batch landed", USE_CASE, landed)

    # A batch has no counts until its rows are validated. Meanwhile the one before it answers, so that an alert
    # on the ratio doesn't end only because the next batch landed.
    validated = newest.where(Batch.received > 0)
    last = db.execute(select(Batch).where(Batch.id.in_(validated))).all()
    shares = [(batch.use_case, (batch.quarantined or 0) / batch.received) for batch in last]
    about = "Share of the rows of the newest validated batch in quarantine"
    yield gauge("lab_last_batch_quarantine_ratio", about, USE_CASE, shares)

    oldest = select(Batch.use_case, func.min(Batch.landed_at)).where(Batch.state.not_in(ENDED))
    unfinished = db.execute(oldest.group_by(Batch.use_case))
    ages = [(use_case, max(0.0, (now() - moment).total_seconds())) for use_case, moment in unfinished]
    yield gauge("lab_unfinished_batch_seconds", "Age of the oldest unfinished batch", USE_CASE, ages)


def models(db: Connection) -> Iterator[Metric]:
    """Registered versions, and the decisions on challengers."""
    versions = db.execute(select(Model.use_case, func.count()).group_by(Model.use_case))
    yield gauge("lab_versions", "Registered versions", USE_CASE, versions)

    outcomes = select(Promotion.use_case, Promotion.outcome, func.count()).group_by(
        Promotion.use_case, Promotion.outcome
    )
    about = "Decisions on challengers, by outcome"
    yield gauge("lab_promotions", about, ("use_case", "outcome"), db.execute(outcomes))

    newest = select(Promotion.use_case, func.max(Promotion.sequence)).where(Promotion.metric.is_not(None))
    compared = select(Promotion).where(
        tuple_(Promotion.use_case, Promotion.sequence).in_(newest.group_by(Promotion.use_case))
    )
    scores = [
        (found.use_case, found.metric, role, getattr(found, f"{role}_score"))
        for found in db.execute(compared)
        for role in ("challenger", "champion")
    ]
    about = "Metric on the test rows when the newest challenger was compared"
    yield gauge("lab_promotion_score", about, ("use_case", "metric", "role"), scores)


def checks(db: Connection) -> Iterator[Metric]:
    """The newest check of the monitoring DAG."""
    newest = select(func.max(Check.id)).group_by(Check.use_case)
    # Rows of a connection have the columns' names: `answered`, not `labelled`.
    last = db.execute(select(Check).where(Check.id.in_(newest))).all()
    for name, about, value in (
        ("lab_monitoring_timestamp_seconds", "When monitoring last ran", lambda c: _seconds(c.checked_at)),
        (
            "lab_monitoring_bound_passed",
            "1 when drift or the live error passed its bound",
            lambda c: c.passed,
        ),
        ("lab_monitoring_rows", "Logged predictions that it compared", lambda c: c.rows),
        ("lab_monitoring_psi", "Index of the feature that drifted most in the log", lambda c: c.psi),
        (
            "lab_estimated_worse",
            "1 when the score that is estimated without ground truth is worse than the test interval",
            lambda c: c.estimated_worse,
        ),
        ("lab_feedback_answered", "Predictions of the champion with a ground truth", lambda c: c.answered),
    ):
        yield gauge(name, about, USE_CASE, [(check.use_case, value(check)) for check in last])
    scores = [
        (check.use_case, check.metric, on, score)
        for check in last
        for on, score in (
            ("test", check.test_score),
            ("live", check.live_score),
            ("estimated", check.estimated_score),
        )
    ]
    about = "The use case's metric: on the test rows, on labelled predictions, and estimated before they are labelled"
    yield gauge("lab_model_score", about, ("use_case", "metric", "on"), scores)


def live(db: Connection) -> Iterator[Metric]:
    """What callers' feedback says of each version, at the newest check."""
    found = db.execute(select(LiveScore)).all()
    labels = ("use_case", "version", "arm")
    counts = [(row.use_case, str(row.version), row.arm, row.labelled) for row in found]
    yield gauge("lab_live_labelled", "Predictions of a version with a ground truth, by arm", labels, counts)
    scores = [(row.use_case, str(row.version), row.arm, row.metric, row.score) for row in found]
    about = "The use case's metric on these predictions"
    yield gauge("lab_live_score", about, (*labels, "metric"), scores)


def _seconds(moment: datetime) -> float:
    """The ledger's times are UTC without an offset."""
    return moment.replace(tzinfo=UTC).timestamp()
