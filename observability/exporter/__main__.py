"""Runs the exporter: `python -m observability.exporter --host 127.0.0.1 --port 9108`."""

import argparse
import logging
import signal
import sys
import threading

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from pydantic import ValidationError

from mlops_lab import logs
from observability.exporter.collect import Collector
from observability.exporter.settings import ExporterSettings


def main() -> int:
    """Serves until it is told to stop; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m observability.exporter", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9108, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    logs.setup()
    try:
        collector = Collector(ExporterSettings())
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        print(f"exporter: LAB_EXPORTER_{str(fault['loc'][0]).upper()}: {fault['msg']}", file=sys.stderr)
        return 2
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(collector)
    try:
        server, _ = start_http_server(arguments.port, arguments.host, registry)
    except OSError as error:
        where = f"{arguments.host}:{arguments.port}"
        print(f"exporter: can't listen on {where} ({error.strerror}); choose another --port", file=sys.stderr)
        return 1
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    logging.getLogger("exporter").info("listening on %s:%s", arguments.host, arguments.port)
    stopped.wait()
    server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
