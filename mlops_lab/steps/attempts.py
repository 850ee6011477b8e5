"""A batch that makes the loop fail again and again is closed as broken, so that it doesn't stop its use case.

An attempt is one run of the loop on the batch, in one process or as a DAG run, however often Airflow tries a task in
it. It counts when a step raises an error, and when Airflow ends a task that takes too long. A service's fault, a
missing signature, a stop and a kill don't count: a later run can succeed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlops_lab.data.database import now
from mlops_lab.data.payload import BrokenBatchError, ClosedBatchError, encodable
from mlops_lab.data.states import CLOSED
from mlops_lab.data.tables import Notice
from mlops_lab.errors import LabError, ServiceError, SignatureError, first_line, foreign_errors_as_lines
from mlops_lab.lab import Lab
from mlops_lab.use_case import UseCase

# Failed attempts after which a batch is broken.
ATTEMPTS = 3
# Characters of an error in the ledger.
FAULT = 1000


@contextmanager
def attempt(lab: Lab, batch_id: int | None) -> Iterator[None]:
    """Around steps of a batch: counts a failure. None: there is no batch yet.

    Raises `BrokenBatchError` instead of the error when the batch is closed by it.
    """
    try:
        with foreign_errors_as_lines():
            yield
    except (ServiceError, SignatureError, ClosedBatchError):
        raise
    except Exception as error:
        if batch_id is None:
            raise
        fault = encodable(first_line(error, FAULT, with_class=not isinstance(error, LabError)))
        batch = lab.ledger.failed(batch_id, fault, ATTEMPTS)
        if batch.state != "broken":
            raise
        raise BrokenBatchError(
            f"batch {batch.batch_number} failed {batch.attempts} times and is closed: {fault}; "
            f"after a mend, `lab retry {batch.use_case}` opens it again"
        ) from error


def retry(lab: Lab, use_case: UseCase, number: int | None = None) -> int:
    """Opens the broken and held batches again, or those with the number; a held one is checked by today's bounds.

    Returns how many; raises `LabError` without any.
    """
    return _open(lab, use_case, CLOSED, number)


def accept(lab: Lab, use_case: UseCase, number: int, who: str, reason: str) -> int:
    """Lets the held batches with the number go on, whatever their checks say; the ledger keeps who did it, and why.

    Returns how many; raises `LabError` without any.
    """
    record = {"accepted_by": who[:80], "accepted_reason": reason or None, "accepted_at": now()}
    return _open(lab, use_case, ("held",), number, **record)


def _open(lab: Lab, use_case: UseCase, states: Sequence[str], number: int | None, **record: Any) -> int:
    lab.store.create_tables()
    closed = [batch for batch in lab.ledger.batches(use_case.name) if batch.state in states]
    opened = [batch for batch in closed if number is None or batch.batch_number == number]
    if not opened:
        which = "batch" if number is None else f"batch {number}"
        raise LabError(
            f"{use_case.name} has no {' or '.join(states)} {which}; "
            f"`lab status {use_case.name}` shows their states"
        )
    for batch in opened:
        again = {"state": "landed", "attempts": 0, "fault": None, "decision": None, "reason": None}
        lab.ledger.note(batch.id, **again, **record)
        # If it is closed again, that is news.
        lab.ledger.forget(Notice(use_case=use_case.name, kind="batch", key=batch.id))
    return len(opened)
