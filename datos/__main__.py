"""`python -m datos`: the Data API on uvicorn."""

import socket
import sys
from collections.abc import Sequence

from datos.app import create_app
from datos.settings import DatosSettings
from mlops_lab.asgi import serve_asgi
from mlops_lab.serve import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until a signal stops it; returns the exit status."""
    return serve("datos", "The Data API; settings are LAB_DATOS_*.", DatosSettings, _run, arguments)


def _run(settings: DatosSettings, listener: socket.socket) -> None:
    serve_asgi(create_app(settings), listener)


if __name__ == "__main__":
    sys.exit(main())
