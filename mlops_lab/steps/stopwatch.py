"""Records in the batch's run which step works on it, how long each took, and why one failed.

So the page Loop and `lab watch` show a batch while it runs. Each candidate's training has a run of its own with its
times. Landing has no record: the batch's run begins with validate.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar, cast

from mlops_lab.errors import first_line
from mlops_lab.lab import Lab

Step = TypeVar("Step", bound=Callable[..., Any])


def timed(step: Step) -> Step:
    """A step `step(lab, use_case, batch_id, …)` with its record. Without a batch, or before its run, there is none."""

    @wraps(step)
    def run(lab: Lab, use_case: Any, batch_id: int | None, *given: Any, **named: Any) -> Any:
        start = time.monotonic()
        _mark(lab, batch_id, step.__name__)
        try:
            result = step(lab, use_case, batch_id, *given, **named)
        except Exception as error:
            _mark(lab, batch_id, step.__name__, fault=first_line(error))
            raise
        _mark(lab, batch_id, step.__name__, seconds=time.monotonic() - start)
        return result

    return cast("Step", run)


def _mark(lab: Lab, batch_id: int | None, step: str, fault: str = "", seconds: float | None = None) -> None:
    if batch_id is None or (run := lab.ledger.batch(batch_id).mlflow_run) is None:
        return
    # Imported here, because commands that only read import no MLflow.
    from mlflow.exceptions import MlflowException

    # Only a page lacks something when MLflow doesn't take this; the step itself says when it needs MLflow.
    with suppress(MlflowException):
        lab.tracking.mark(run, step, fault, seconds)
