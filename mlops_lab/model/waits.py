"""How long MLflow's client waits for its server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# By variable of MLflow: the usual value, and that of `brief_waits`.
WAITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": ("4", "1"), "MLFLOW_HTTP_REQUEST_TIMEOUT": ("30", "10")}


@contextmanager
def brief_waits() -> Iterator[None]:
    """In the block a request to MLflow is given up after about 20 seconds, because a person waits for it.

    MLflow reads the variables at each request. What a person set stays.
    """
    usual = {variable: long for variable, (long, _) in WAITS.items() if os.environ[variable] == long}
    os.environ.update({variable: WAITS[variable][1] for variable in usual})
    try:
        yield
    finally:
        os.environ.update(usual)
