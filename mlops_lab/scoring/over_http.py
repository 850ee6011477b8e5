"""Scores the rows of a file by a running inference service, in chunks: what a page does, which has no model itself.

`lab score` has no limit of rows and goes on after a kill. Here the result is held in memory, so it has one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mlops_lab.client import InferenceClient, PredictReply
from mlops_lab.contract import Contract
from mlops_lab.errors import ContractError, LabError
from mlops_lab.formatting import counted
from mlops_lab.scoring.source import Row, Source, SourceError
from mlops_lab.tabular import csv_lines, interval_columns, prediction_columns

# Rows of a file, and rows of one request: of a use case with 200 columns they stay below the service's 8 MiB.
MAX_ROWS, CHUNK = 50_000, 500
# Faults that are kept to be shown; the file of refused rows has all of them.
MAX_SHOWN = 1_000
# The columns of the refused rows, as `lab score` writes them.
FAULT = ("row", "field", "rule", "message")


@dataclass
class Answer:
    """What the service said of a file's rows, numbered from 1.

    predictions: CSV; refused: CSV of the faults of the rows that were refused.
    faults: the first ones of these. rows: the predicted ones. versions: of the model, those that predicted.
    stopped: why it ended before the last row; empty when it didn't.
    """

    predictions: bytes = b""
    refused: bytes = b""
    faults: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    refused_rows: int = 0
    versions: list[int] = field(default_factory=list)
    stopped: str = ""


def count_rows(source: Source, name: str, use_case: str) -> int:
    """The rows of a file, which is read to its end. Raises `SourceError` when it is damaged, empty or too long."""
    number = sum(1 for _ in islice(source.rows(0), MAX_ROWS + 1))
    if not number:
        raise SourceError(f"{name} has no row")
    if number > MAX_ROWS:
        raise SourceError(
            f"{name} has more than {counted(MAX_ROWS, 'row')}, the limit of this page; "
            f"`lab score {use_case} FILE` predicts files of any length"
        )
    return number


def score_over_http(
    client: InferenceClient, contract: Contract, source: Source, report: Callable[[int], None]
) -> Answer:
    """Predicts every row that keeps the contract, and lists what is wrong with the others.

    report: is called with the number of rows that are done, after each chunk. A service that doesn't answer, or that
    refuses a whole chunk, ends it: what was predicted until then is in the answer, which says why it stopped.
    """
    answer, done = Answer(refused=csv_lines({name: [] for name in FAULT})), 0
    rows = source.rows(0)
    while chunk := dict(enumerate(islice(rows, CHUNK), done + 1)):
        try:
            _add(answer, client, contract, chunk)
        except LabError as error:
            answer.stopped = f"{error} (after row {done:,})"
            break
        done += len(chunk)
        report(done)
    return answer


def _add(answer: Answer, client: InferenceClient, contract: Contract, chunk: dict[int, Row]) -> None:
    """Sends the rows of a chunk, by number; one that is refused goes again without the rows that are at fault."""
    faults = [
        {**fault, "row": number}
        for number, row in chunk.items()
        if isinstance(row, ContractError)
        for fault in row.problems
    ]
    good = {number: row for number, row in chunk.items() if isinstance(row, dict)}
    reply: PredictReply | None = None
    while good and reply is None:
        try:
            reply = client.predict(contract.use_case, list(good.values()), interval=True)
        except ContractError as error:
            found = list(_faults(contract, good)) or _numbered(error, list(good))
            faults += found
            good = {number: row for number, row in good.items() if number not in {f["row"] for f in found}}
    if reply is not None:
        answer.predictions += csv_lines(_columns(contract, list(good), reply), header=not answer.predictions)
        answer.rows += len(good)
        answer.versions = sorted({*answer.versions, reply.model.version})
    faults.sort(key=lambda fault: fault["row"])
    answer.refused += csv_lines({name: [fault[name] for fault in faults] for name in FAULT}, header=False)
    answer.refused_rows += len({fault["row"] for fault in faults})
    answer.faults += faults[: MAX_SHOWN - len(answer.faults)]


def _faults(contract: Contract, rows: dict[int, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every fault of the rows. The service's reply ends after some."""
    for number, row in rows.items():
        try:
            contract.read([row])
        except ContractError as error:
            yield from ({**fault, "row": number} for fault in error.problems)


def _numbered(error: ContractError, numbers: list[int]) -> list[dict[str, Any]]:
    """The service's own faults: its champion may be newer than the contract. Raises one that belongs to no row."""
    if not all(0 <= fault["row"] < len(numbers) for fault in error.problems):
        raise error
    return [{**fault, "row": numbers[fault["row"]]} for fault in error.problems]


def _columns(contract: Contract, numbers: list[int], reply: PredictReply) -> dict[str, list[Any]]:
    probabilities = None
    if reply.probabilities is not None:
        probabilities = [row.values() for row in reply.probabilities]
    columns = prediction_columns(reply.prediction_ids, reply.predictions, contract.classes, probabilities)
    if reply.intervals is not None:
        columns |= interval_columns(reply.intervals)
    return {"row": numbers} | columns | {"model_version": [reply.model.version] * len(numbers)}
