"""Celery's settings for Airflow, and the worker's health check.

After Redis restarts, a worker can answer pings and still leave tasks in the queue for ever (celery#8030, #10205).
`celery inspect ping` as a health check also imports all of Airflow at every check, and the broker's memory grows
(airflow#21026). Therefore the worker sends itself a message through the broker every ten seconds. When its own
consumer receives the message, it touches a file, and the health check reads the age of that file. The worker does
not touch the file while tasks wait although it is idle.
"""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from airflow.configuration import conf
from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state
from kombu import Consumer, Exchange, Queue

from mlops_lab.local.warm import warm_up_tasks
from mlops_lab.settings import Settings

CELERY_CONFIG = DEFAULT_CELERY_CONFIG | {"broker_connection_retry_on_startup": True}

PROOF = Path("/tmp/lab-consumed")  # noqa: S108 (only this container has this folder)
# Seconds between two messages of the worker to itself.
INTERVAL = 10
# Seconds that tasks may wait while the worker is idle.
MAX_WAIT = 30

log = get_logger(__name__)
_waiting_since: float | None = None


class ProvesConsumption(bootsteps.ConsumerStep):
    """A queue for this worker alone. The event loop that reads the tasks reads it, too."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def get_consumers(self, channel):
        return [Consumer(channel, queues=[_own_queue()], callbacks=[self.consumed], accept=["json"])]

    def consumed(self, _body, message) -> None:
        message.ack()
        if _waiting_since is not None and time.monotonic() - _waiting_since > MAX_WAIT:
            log.error("tasks have been waiting for over %s s while this worker is idle", MAX_WAIT)
        else:
            PROOF.touch()


@signals.celeryd_init.connect
def prove_consumption(instance, **_) -> None:
    """Adds the step to a worker that is starting."""
    # Every task is forked from this process.
    warm_up_tasks()
    sign_earlier_versions()
    instance.app.steps["consumer"].add(ProvesConsumption)
    threading.Thread(target=_send, args=(instance.app,), daemon=True).start()


def sign_earlier_versions() -> None:
    """For a day after the upgrade from a release that signed nothing, signs what it registered: lab-secrets says so.

    A first try comes before the first task, which may need a champion; while a service is away, others follow.
    """
    if Settings().sign_recorded_until > time.time() and not _sign():
        threading.Thread(target=_sign_later, daemon=True).start()


def _sign() -> bool:
    """Whether `lab sign` succeeded."""
    try:
        return subprocess.run([sys.executable, "-m", "mlops_lab.cli", "sign"], timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _sign_later() -> None:
    while Settings().sign_recorded_until > time.time():
        time.sleep(15)
        if _sign():
            return
    log.error(
        "the versions of the earlier release aren't signed; `lab sign` does it: docs/operations.md, Signatures"
    )


def _own_queue() -> Queue:
    name = f"lab.alive.{socket.gethostname()}"
    return Queue(name, Exchange(""), routing_key=name, durable=False)


def _send(app) -> None:
    """Sends the messages, and records since when tasks have been waiting while this worker is idle."""
    global _waiting_since
    queue, tasks = _own_queue().name, conf.get("operators", "default_queue")
    while True:
        try:
            with app.connection_for_write() as connection:
                producer, redis = connection.Producer(serializer="json"), connection.default_channel.client
                while True:
                    if not redis.llen(queue):
                        producer.publish({}, exchange="", routing_key=queue)
                        redis.expire(queue, 600)  # the queue of a worker that is gone is deleted
                    idle = not state.active_requests and not state.reserved_requests
                    if not (idle and redis.llen(tasks)):
                        _waiting_since = None
                    elif _waiting_since is None:
                        _waiting_since = time.monotonic()
                    time.sleep(INTERVAL)
        except Exception as error:  # the next attempt may succeed; until then the file isn't touched
            log.warning("the broker can't be reached: %s", error)
            time.sleep(INTERVAL)
