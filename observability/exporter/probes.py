"""A probe sends one real request to a service and returns its metrics. A failed probe raises; then `lab_up` is 0."""

import shutil
from collections.abc import Callable

import httpx
import redis
from prometheus_client.core import Metric
from sqlalchemy import Engine, text
from sqlalchemy.pool import NullPool

from mlops_lab.data.database import connect
from observability.exporter import ledger
from observability.exporter.metrics import gauge
from observability.exporter.settings import ExporterSettings

Probe = Callable[[], list[Metric]]


def probes(settings: ExporterSettings) -> dict[str, Probe]:
    """Service → probe, for every service that the settings name."""
    found: dict[str, Probe] = {}
    seconds = settings.timeout
    if url := settings.raw_url:
        found["mysql"] = _ledger(_engine(url.get_secret_value(), seconds))
    if url := settings.postgres_url:
        found["postgres"] = _postgres(_engine(url.get_secret_value(), seconds))
    if url := settings.redis_url:
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        found["redis"] = _redis(redis.Redis.from_url(url.get_secret_value(), **limits), settings.queue)
    if url := settings.airflow_url:
        found["airflow"] = _airflow(url, seconds)
    for service, url in settings.probes.items():
        found[service] = _page(url, seconds)
    return found


def disk(settings: ExporterSettings) -> list[Metric]:
    """The disk that the containers of this machine share."""
    used = shutil.disk_usage(settings.disk)
    return [
        gauge("lab_disk_free_bytes", "Free space of the disk that the containers share", (), [(used.free,)]),
        gauge("lab_disk_size_bytes", "Size of that disk", (), [(used.total,)]),
    ]


def _page(url: str, seconds: float) -> Probe:
    def probe() -> list[Metric]:
        httpx.get(url, timeout=seconds, follow_redirects=True).raise_for_status()
        return []

    return probe


def _airflow(url: str, seconds: float) -> Probe:
    def probe() -> list[Metric]:
        reply = httpx.get(url, timeout=seconds).raise_for_status().json()
        states = {component: state.get("status") for component, state in reply.items()}
        # A component that doesn't run here, as the triggerer, has no status.
        up = [(component, status == "healthy") for component, status in states.items() if status is not None]
        about = "1 while Airflow reports the component as healthy"
        return [gauge("lab_airflow_component_up", about, ("component",), up)]

    return probe


def _redis(client: redis.Redis, queue: str) -> Probe:
    def probe() -> list[Metric]:
        info = client.info()
        waiting = [(queue, client.llen(queue))]
        return [
            gauge("lab_queue_tasks", "Tasks that no worker has taken yet", ("queue",), waiting),
            gauge("lab_redis_memory_bytes", "Memory that Redis uses", (), [(info["used_memory"],)]),
            gauge("lab_redis_clients", "Connections to Redis", (), [(info["connected_clients"],)]),
        ]

    return probe


def _postgres(engine: Engine) -> Probe:
    connections = "SELECT sum(numbackends), current_setting('max_connections')::int FROM pg_stat_database"
    sizes = "SELECT 'postgres', datname, pg_database_size(datname) FROM pg_database WHERE NOT datistemplate"

    def probe() -> list[Metric]:
        with engine.connect() as db:
            used, limit = db.execute(text(connections)).one()
            size = gauge(
                "lab_database_bytes", "Size of a database", ("service", "database"), db.execute(text(sizes))
            )
        return [*_connections("postgres", used or 0, limit), size]

    return probe


def _ledger(engine: Engine) -> Probe:
    """The tables of RawData and, on MySQL, the server's connections."""

    def probe() -> list[Metric]:
        with engine.connect() as db:
            found = [*ledger.batches(db), *ledger.models(db), *ledger.checks(db), *ledger.live(db)]
            if engine.dialect.name == "mysql":
                status = dict(db.execute(text("SHOW GLOBAL STATUS LIKE 'Threads_connected'")).tuples().all())
                limit = db.scalar(text("SELECT @@max_connections"))
                found += _connections("mysql", int(status.get("Threads_connected", 0)), limit)
        return found

    return probe


def _connections(service: str, used: int, limit: int) -> list[Metric]:
    return [
        gauge("lab_database_connections", "Open connections", ("service",), [(service, used)]),
        gauge(
            "lab_database_connections_limit", "Connections that it allows", ("service",), [(service, limit)]
        ),
    ]


def _engine(url: str, seconds: float) -> Engine:
    # Each probe opens a connection of its own: whether the server accepts one is part of the probe.
    return connect(url, connect_timeout=seconds, statement_timeout=seconds, poolclass=NullPool)
