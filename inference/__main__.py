"""`python -m inference`: the service on uvicorn, one process; more of them are more replicas."""

import argparse
import signal
import socket
import sys

import uvicorn
from pydantic import ValidationError

from inference.app import create_app
from inference.settings import InferenceSettings
from mlops_lab import logs
from mlops_lab.errors import LabError

GRACE = 20  # seconds that requests under way may still take once the service is told to stop


def main() -> int:
    """Runs the service until it is told to stop; its exit code."""
    try:
        settings = InferenceSettings()
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        return _stop(f"setting LAB_{str(fault['loc'][0]).upper()}: {fault['msg']}")
    parser = argparse.ArgumentParser(
        prog="python -m inference", description="Serves the champion of every use case."
    )
    parser.add_argument(
        "--host", default=settings.bind, help=f"address to listen on (default: {settings.bind})"
    )
    parser.add_argument("--port", type=int, default=settings.inference_port, help="(default: %(default)s)")
    parser.add_argument("--access-log", action="store_true", help="one log line a request")
    arguments = parser.parse_args()

    logs.setup()
    try:
        listener = _listen(arguments.host, arguments.port)
    except OSError as error:
        return _stop(
            f"can't listen on {arguments.host}:{arguments.port} ({error.strerror}); "
            "choose another port with --port or LAB_INFERENCE_PORT"
        )
    try:
        app = create_app(settings)
    except LabError as error:
        return _stop(str(error))
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=arguments.access_log,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    # uvicorn raises the signal again after it has shut down in order: that is a success, not a death by signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def _stop(line: str) -> int:
    print(f"inference: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
