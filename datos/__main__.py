"""Runs the Data API: `python -m datos --host 127.0.0.1 --port 8081`."""

import argparse
import sys

import uvicorn
from pydantic import ValidationError

from datos.app import create_app
from datos.positions import PositionsError
from datos.settings import DatosSettings
from mlops_lab import logs


def main() -> int:
    """Serves until it is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m datos", description="The Data API; settings are LAB_DATOS_*."
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8081,
        help="port to listen on (default: %(default)s)",
    )
    arguments = parser.parse_args()
    try:
        app = create_app(DatosSettings())
    except ValidationError as error:
        first = error.errors()[0]
        print(
            f"datos: LAB_DATOS_{str(first['loc'][0]).upper()}: {first['msg']}",
            file=sys.stderr,
        )
        return 2
    except PositionsError as error:
        print(f"datos: {error}", file=sys.stderr)
        return 2
    logs.setup()
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_config=None, access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
