"""`python -m observability.exporter`: the exporter on prometheus_client's own server."""

import logging
import signal
import socket
import sys
import threading
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from mlops_lab.serve import serve
from observability.exporter.collect import Collector
from observability.exporter.settings import ExporterSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal stops it; returns the exit status."""
    about = "Prometheus metrics of services that have none; settings are LAB_EXPORTER_*."
    return serve("observability.exporter", about, ExporterSettings, _run, arguments)


def _run(settings: ExporterSettings, listener: socket.socket) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Collector(settings))
    # prometheus_client takes an address, not a socket.
    listener.close()
    server, _ = start_http_server(settings.port, settings.bind, registry)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    logging.getLogger("exporter").info("listening on %s:%s", settings.bind, settings.port)
    stopped.wait()
    server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
