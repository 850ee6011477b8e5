"""What is looked at: each look asks one service and gives its metrics. A look that fails says so by `lab_up` alone."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.pool import NullPool

from mlops_lab.data.tables import BATCHES, CHECKS, MODELS, PROMOTIONS
from observability.exporter.settings import ExporterSettings

ROWS = ("received", "stored", "quarantined", "dropped", "duplicates", "clean")

Look = Callable[[], list[Metric]]


def looks(settings: ExporterSettings) -> dict[str, Look]:
    """Service → look, for everything that the settings name."""
    found: dict[str, Look] = {}
    seconds = settings.timeout
    if url := settings.raw_url:
        found["mysql"] = _ledger(_engine(url.get_secret_value(), seconds))
    if url := settings.postgres_url:
        found["postgres"] = _postgres(_engine(url.get_secret_value(), seconds))
    if url := settings.redis_url:
        client = redis.Redis.from_url(
            url.get_secret_value(), socket_timeout=seconds, socket_connect_timeout=seconds
        )
        found["redis"] = _redis(client, settings.queue)
    if url := settings.airflow_url:
        found["airflow"] = _airflow(url, seconds)
    for service, url in settings.probes.items():
        found[service] = _probe(url, seconds)
    return found


def disk(settings: ExporterSettings) -> list[Metric]:
    """The disk that the containers of this machine share."""
    used = shutil.disk_usage(settings.disk)
    free = GaugeMetricFamily("lab_disk_free_bytes", "Free space of the disk that the containers share")
    free.add_metric([], used.free)
    size = GaugeMetricFamily("lab_disk_size_bytes", "Size of that disk")
    size.add_metric([], used.total)
    return [free, size]


def _probe(url: str, seconds: float) -> Look:
    def look() -> list[Metric]:
        httpx.get(url, timeout=seconds, follow_redirects=True).raise_for_status()
        return []

    return look


def _airflow(url: str, seconds: float) -> Look:
    def look() -> list[Metric]:
        reply = httpx.get(url, timeout=seconds).raise_for_status().json()
        up = GaugeMetricFamily(
            "lab_airflow_component_up", "1 while Airflow calls the component healthy", labels=["component"]
        )
        for component, state in reply.items():
            if state.get("status") is not None:  # a triggerer that isn't there has none
                up.add_metric([component], state["status"] == "healthy")
        return [up]

    return look


def _redis(client: redis.Redis, queue: str) -> Look:
    def look() -> list[Metric]:
        info = client.info()
        waiting = GaugeMetricFamily("lab_queue_tasks", "Tasks that no worker has taken yet", labels=["queue"])
        waiting.add_metric([queue], client.llen(queue))
        return [
            waiting,
            GaugeMetricFamily("lab_redis_memory_bytes", "Memory that Redis holds", info["used_memory"]),
            GaugeMetricFamily("lab_redis_clients", "Connections to Redis", info["connected_clients"]),
        ]

    return look


def _postgres(engine: Engine) -> Look:
    def look() -> list[Metric]:
        with engine.connect() as db:
            open_, limit = db.execute(
                text("SELECT sum(numbackends), current_setting('max_connections')::int FROM pg_stat_database")
            ).one()
            sizes = db.execute(
                text("SELECT datname, pg_database_size(datname) FROM pg_database WHERE NOT datistemplate")
            ).all()
        size = GaugeMetricFamily("lab_database_bytes", "Size of a database", labels=["service", "database"])
        for name, found in sizes:
            size.add_metric(["postgres", name], found)
        return [*_connections("postgres", open_ or 0, limit), size]

    return look


def _ledger(engine: Engine) -> Look:
    """What the loop wrote into RawData; and, on MySQL, the server's connections."""

    def look() -> list[Metric]:
        with engine.connect() as db:
            found = [*_batches(db), *_models(db), *_checks(db)]
            if engine.dialect.name == "mysql":
                status = dict(db.execute(text("SHOW GLOBAL STATUS LIKE 'Threads_connected'")).tuples().all())
                limit = db.scalar(text("SELECT @@max_connections"))
                found += _connections("mysql", int(status.get("Threads_connected", 0)), limit)
        return found

    return look


def _batches(db) -> Iterator[Metric]:
    states = GaugeMetricFamily("lab_batches", "Batches in the ledger, by state", labels=["use_case", "state"])
    counts = select(BATCHES.c.use_case, BATCHES.c.state, func.count()).group_by(
        BATCHES.c.use_case, BATCHES.c.state
    )
    for use_case, state, count in db.execute(counts):
        states.add_metric([use_case, state], count)

    decisions = GaugeMetricFamily(
        "lab_decisions", "Batches that led to a training, and that did not", labels=["use_case", "decision"]
    )
    counts = select(BATCHES.c.use_case, BATCHES.c.decision, func.count()).where(
        BATCHES.c.decision.is_not(None)
    )
    for use_case, decision, count in db.execute(counts.group_by(BATCHES.c.use_case, BATCHES.c.decision)):
        decisions.add_metric([use_case, decision], count)

    rows = CounterMetricFamily(
        "lab_rows", "Rows of all batches, by what became of them", labels=["use_case", "kind"]
    )
    missing = GaugeMetricFamily("lab_batches_missing", "Batches that never arrived", labels=["use_case"])
    sums = [func.coalesce(func.sum(BATCHES.c[name]), 0) for name in (*ROWS, "gap")]
    for use_case, *found in db.execute(select(BATCHES.c.use_case, *sums).group_by(BATCHES.c.use_case)):
        for kind, count in zip(ROWS, found, strict=False):
            rows.add_metric([use_case, kind], float(count))
        missing.add_metric([use_case], float(found[-1]))

    landed = GaugeMetricFamily(
        "lab_last_batch_timestamp_seconds", "When the newest batch landed", labels=["use_case"]
    )
    share = GaugeMetricFamily(
        "lab_last_batch_quarantine_ratio",
        "Share of the newest batch's rows in quarantine",
        labels=["use_case"],
    )
    newest = select(func.max(BATCHES.c.id)).group_by(BATCHES.c.use_case)
    for batch in db.execute(select(BATCHES).where(BATCHES.c.id.in_(newest))):
        landed.add_metric([batch.use_case], _seconds(batch.landed_at))
        if batch.received:
            share.add_metric([batch.use_case], (batch.quarantined or 0) / batch.received)

    waiting = GaugeMetricFamily(
        "lab_unfinished_batch_seconds",
        "Age of the oldest batch that its run never finished",
        labels=["use_case"],
    )
    oldest = select(BATCHES.c.use_case, func.min(BATCHES.c.landed_at))
    unfinished = oldest.where(BATCHES.c.state.not_in(("done", "broken"))).group_by(BATCHES.c.use_case)
    for use_case, moment in db.execute(unfinished):
        waiting.add_metric([use_case], max(0.0, datetime.now(UTC).timestamp() - _seconds(moment)))
    yield from (states, decisions, rows, missing, landed, share, waiting)


def _models(db) -> Iterator[Metric]:
    versions = GaugeMetricFamily("lab_versions", "Registered versions", labels=["use_case"])
    for use_case, count in db.execute(select(MODELS.c.use_case, func.count()).group_by(MODELS.c.use_case)):
        versions.add_metric([use_case], count)

    outcomes = GaugeMetricFamily(
        "lab_promotions", "Decisions on challengers, by outcome", labels=["use_case", "outcome"]
    )
    counts = select(PROMOTIONS.c.use_case, PROMOTIONS.c.outcome, func.count())
    for use_case, outcome, count in db.execute(counts.group_by(PROMOTIONS.c.use_case, PROMOTIONS.c.outcome)):
        outcomes.add_metric([use_case, outcome], count)

    score = GaugeMetricFamily(
        "lab_promotion_score",
        "Metric on the test rows when the newest challenger was judged",
        labels=["use_case", "metric", "role"],
    )
    newest = select(PROMOTIONS.c.use_case, func.max(PROMOTIONS.c.sequence)).where(
        PROMOTIONS.c.metric.is_not(None)
    )
    for use_case, sequence in db.execute(newest.group_by(PROMOTIONS.c.use_case)).all():
        one = PROMOTIONS.c.use_case == use_case, PROMOTIONS.c.sequence == sequence
        found = db.execute(select(PROMOTIONS).where(*one)).one()
        for role in ("challenger", "champion"):
            if (value := getattr(found, f"{role}_score")) is not None:
                score.add_metric([use_case, found.metric, role], value)
    yield from (versions, outcomes, score)


def _checks(db) -> Iterator[Metric]:
    """The newest look of the monitoring DAG."""
    names = {
        "lab_monitoring_timestamp_seconds": "When monitoring last looked at what was served",
        "lab_monitoring_bound_passed": "1 when drift or the live error passed its bound",
        "lab_monitoring_rows": "Logged predictions that it compared",
        "lab_monitoring_psi": "Population stability index of the feature that moved most in the prediction log",
        "lab_feedback_answered": "Predictions of the champion whose true value came",
    }
    found = {name: GaugeMetricFamily(name, about, labels=["use_case"]) for name, about in names.items()}
    score = GaugeMetricFamily(
        "lab_model_score",
        "The use case's metric: on the test rows, and on live predictions whose true value came",
        labels=["use_case", "metric", "on"],
    )
    newest = select(func.max(CHECKS.c.id)).group_by(CHECKS.c.use_case)
    for check in db.execute(select(CHECKS).where(CHECKS.c.id.in_(newest))):
        values = (_seconds(check.checked_at), check.passed, check.rows, check.psi, check.answered)
        for family, value in zip(found.values(), values, strict=True):
            if value is not None:
                family.add_metric([check.use_case], float(value))
        for on, value in (("test", check.test_score), ("live", check.live_score)):
            if value is not None:
                score.add_metric([check.use_case, check.metric, on], value)
    yield from (*found.values(), score)


def _connections(service: str, open_: int, limit: int) -> list[Metric]:
    used = GaugeMetricFamily("lab_database_connections", "Open connections", labels=["service"])
    used.add_metric([service], float(open_))
    most = GaugeMetricFamily(
        "lab_database_connections_limit", "Connections that it allows", labels=["service"]
    )
    most.add_metric([service], float(limit))
    return [used, most]


def _engine(url: str, seconds: float) -> Engine:
    options = (
        {"timeout": seconds} if url.startswith("sqlite") else {"connect_timeout": max(1, round(seconds))}
    )
    if url.startswith("mysql"):
        options |= {"read_timeout": seconds, "write_timeout": seconds}
    if url.startswith("postgres"):
        options |= {"options": f"-c statement_timeout={round(seconds * 1000)}"}
    # A connection of its own each time: to get one is part of what is looked at.
    return create_engine(url, poolclass=NullPool, connect_args=options)


def _seconds(moment: datetime) -> float:
    """The ledger's times are UTC without an offset."""
    return moment.replace(tzinfo=UTC).timestamp()
