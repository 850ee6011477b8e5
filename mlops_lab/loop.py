"""The whole loop for one batch in one process: the same steps as the DAG, without Airflow."""

from dataclasses import dataclass

from mlops_lab.data.payload import ClosedBatchError
from mlops_lab.data.source import EndOfDataError
from mlops_lab.data.tables import Batch
from mlops_lab.errors import LabError
from mlops_lab.free_memory import release
from mlops_lab.lab import Lab
from mlops_lab.steps.approve import apply_default
from mlops_lab.steps.attempts import attempt
from mlops_lab.steps.decide import decide
from mlops_lab.steps.ingest import KnownBatchError, finish, fruitless, land, newest, prepare, validate
from mlops_lab.steps.notices import told
from mlops_lab.steps.promote import Outcome, promote, roll_out
from mlops_lab.steps.sign import sign_earlier
from mlops_lab.steps.train import rows_of, train
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class BatchResult:
    """The result of one turn of the loop.

    outcome: None when the batch led to no training. more: the next batch may be requested at once.
    """

    batch_number: int | None
    reason: str
    outcome: Outcome | None
    more: bool


def run_loop(lab: Lab, use_case: UseCase, most: int | None = None) -> None:
    """Batch by batch until the data ends, or `most` batches. A broken or held batch costs itself alone.

    Raises `BusyError` when another process works on the use case, `LabError` when the newest batches brought no row,
    and every other one of the steps.
    """
    done = 0
    with lab.turns.hold(use_case.name):
        while most is None or done < most:
            try:
                run_batch(lab, use_case)
            except (EndOfDataError, KnownBatchError) as reason:
                # The lab's own Data API ends with the address that starts it again, which is no use after this command.
                end = str(reason).partition("; GET ")[0]
                again = f"`lab reset {use_case.name}` would remove its rows and models and begin anew"
                lab.progress(f"no further batch: {end} ({again})")
                return
            except ClosedBatchError as closed:
                lab.progress(f"{closed.state}: {closed}")
            done += 1
            if (reason := fruitless(lab, use_case)) is not None:
                raise LabError(reason)


def run_batch(lab: Lab, use_case: UseCase, force: bool = False) -> BatchResult:
    """One turn: from the next batch to a promoted and served model, or to the reason against it.

    Raises `EndOfDataError` and `KnownBatchError` when there is no new batch, and every other `LabError` of the steps.
    """
    with lab.turns.hold(use_case.name):
        _step(lab, use_case, "asking for the next batch", 0)
        sign_earlier(lab)
        apply_default(lab, use_case)
        batch = land(lab, use_case)
        with told(lab, use_case.name), attempt(lab, batch.id):
            _step(lab, use_case, f"{_name(batch)}: checking each row", 1)
            validate(lab, use_case, batch.id)
            _step(lab, use_case, f"{_name(batch)}: cleaning the rows", 2)
            prepare(lab, use_case, batch.id)
            return _learn(lab, use_case, batch.id, force, again=force)


def train_now(lab: Lab, use_case: UseCase, force: bool = True) -> BatchResult:
    """Trains on the stored rows, as part of the newest batch. force: also when the policy decides against it."""
    with lab.turns.hold(use_case.name):
        sign_earlier(lab)
        apply_default(lab, use_case)
        batch = newest(lab, use_case)
        with told(lab, use_case.name), attempt(lab, batch.id):
            return _learn(lab, use_case, batch.id, force, again=True)


def _learn(lab: Lab, use_case: UseCase, batch_id: int, force: bool, again: bool) -> BatchResult:
    batch = _name(lab.ledger.batch(batch_id))
    _step(lab, use_case, f"{batch}: is a training needed?", 3)
    decision = decide(lab, use_case, batch_id, force)
    outcome = None
    if decision.train:
        amount = _train_all(lab, use_case, batch_id, batch, again)
        _step(lab, use_case, f"{batch}: comparing with the champion", 4 + amount)
        outcome = promote(lab, use_case, batch_id)
        if outcome.promoted and outcome.version is not None:
            _step(lab, use_case, f"{batch}: is version {outcome.version} served?", 5 + amount)
            roll_out(lab, use_case, batch_id, outcome.version)
    more = finish(lab, use_case, batch_id)
    number = lab.ledger.batch(batch_id).batch_number
    return BatchResult(number, outcome.reason if outcome else decision.reason, outcome, more)


def _train_all(lab: Lab, use_case: UseCase, batch_id: int, batch: str, again: bool) -> int:
    """Trains the candidates one after the other, on rows that are read once; returns their number."""
    rows, amount = rows_of(lab, use_case, batch_id), len(use_case.candidates)
    for number, candidate in enumerate(use_case.candidates, 1):
        _step(lab, use_case, f"{batch}: training {number} of {amount}, {candidate.name}", 3 + number)
        train(lab, use_case, batch_id, candidate.name, again, rows)
    return amount


def _step(lab: Lab, use_case: UseCase, what: str, done: int) -> None:
    """Of a batch that is learnt from: six steps beside one for each candidate."""
    release()
    lab.step(what, done, 6 + len(use_case.candidates))


def _name(batch: Batch) -> str:
    return "batch" if batch.batch_number is None else f"batch {batch.batch_number}"
