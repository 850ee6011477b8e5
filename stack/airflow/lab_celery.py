"""Celery's settings for Airflow, and the worker's proof that it consumes.

After Redis restarts, a worker may answer pings and still leave tasks in the queue for ever (celery#8030, #10205).
And `celery inspect ping` as a healthcheck imports all of Airflow at every check and grows the broker's memory
(airflow#21026). So the worker proves itself: it sends itself a message through the broker every few seconds and,
when its own consumer hands the message back, renews a file. The healthcheck looks at that file's age. The file
stays old, too, while tasks wait although the worker is idle.
"""

import socket
import threading
import time
from pathlib import Path

from airflow.configuration import conf
from airflow.providers.celery.executors.default_celery import DEFAULT_CELERY_CONFIG
from celery import bootsteps, signals
from celery.utils.log import get_logger
from celery.worker import state
from kombu import Consumer, Exchange, Queue

from mlops_lab.local.warm import import_modules

CELERY_CONFIG = DEFAULT_CELERY_CONFIG | {"broker_connection_retry_on_startup": True}

PROOF = Path("/tmp/lab-consumed")  # noqa: S108 (the container's own)
EVERY = 10  # seconds between two messages to itself
PATIENCE = 30  # seconds that tasks may wait while the worker is idle

log = get_logger(__name__)
_waiting_since: float | None = None


class ProvesConsumption(bootsteps.ConsumerStep):
    """A queue of this worker's own, beside the tasks', read by the same event loop."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def get_consumers(self, channel):
        return [Consumer(channel, queues=[_own_queue()], callbacks=[self.consumed], accept=["json"])]

    def consumed(self, _body, message) -> None:
        message.ack()
        if _waiting_since is not None and time.monotonic() - _waiting_since > PATIENCE:
            log.error("tasks have been waiting for over %s s while this worker is idle", PATIENCE)
        else:
            PROOF.touch()


@signals.celeryd_init.connect
def prove_consumption(instance, **_) -> None:
    """Adds the step to a worker that is about to start."""
    # Every task is forked from this process.
    import_modules()
    instance.app.steps["consumer"].add(ProvesConsumption)
    threading.Thread(target=_send, args=(instance.app,), daemon=True).start()


def _own_queue() -> Queue:
    name = f"lab.alive.{socket.gethostname()}"
    return Queue(name, Exchange(""), routing_key=name, durable=False)


def _send(app) -> None:
    """Sends the messages, and notes since when tasks wait while none is at work here."""
    global _waiting_since
    queue, tasks = _own_queue().name, conf.get("operators", "default_queue")
    while True:
        try:
            with app.connection_for_write() as connection:
                producer, redis = connection.Producer(serializer="json"), connection.default_channel.client
                while True:
                    if not redis.llen(queue):
                        producer.publish({}, exchange="", routing_key=queue)
                        redis.expire(queue, 600)  # a worker that never comes back leaves nothing behind
                    idle = not state.active_requests and not state.reserved_requests
                    if not (idle and redis.llen(tasks)):
                        _waiting_since = None
                    elif _waiting_since is None:
                        _waiting_since = time.monotonic()
                    time.sleep(EVERY)
        except Exception as error:  # whatever it is, the next try may work; until then the file grows old
            log.warning("the broker can't be reached: %s", error)
            time.sleep(EVERY)
