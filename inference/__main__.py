"""`python -m inference`: the service on uvicorn, one process. More processes are more replicas."""

import socket
import sys
from collections.abc import Sequence

from inference.app import create_app
from inference.settings import InferenceSettings
from mlops_lab.asgi import serve_asgi
from mlops_lab.model.waits import brief_waits
from mlops_lab.serve import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the service until a signal stops it; returns the exit status."""
    about = "Serves the champion of every use case."
    return serve("inference", about, InferenceSettings, _run, arguments)


def _run(settings: InferenceSettings, listener: socket.socket) -> None:
    # Callers and the follower of the aliases wait for the registry; the follower asks again every few seconds.
    with brief_waits():
        seconds = settings.inference_max_seconds
        serve_asgi(create_app(settings), listener, settings.inference_access_log, seconds, seconds)


if __name__ == "__main__":
    sys.exit(main())
