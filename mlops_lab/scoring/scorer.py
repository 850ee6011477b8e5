"""Scores a file with one version of a model: predictions with ids, and the refused rows with their faults.

Rows are read, checked and predicted in chunks, and each chunk is on disk before the next one begins. A run that was
killed goes on after its last chunk when it is called again with the same file and version. Ids are a hash of the
file's digest, the model and the row's number, so the result is byte for byte that of an undisturbed run.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_lab.decoder import Decoder
from mlops_lab.errors import ContractError, LabError, ModelError
from mlops_lab.formatting import counted
from mlops_lab.model.predictor import Predicted, Predictor
from mlops_lab.scoring.output import Output, output_for
from mlops_lab.scoring.part import PREDICTIONS, REFUSED, Part, held
from mlops_lab.scoring.source import ENDINGS, Row, Source, SourceError, digest, open_source
from mlops_lab.tabular import csv_lines, interval_columns, prediction_columns

if TYPE_CHECKING:
    from mlops_lab.model.registry import Version

# Rows between two records of the progress; also the rows that the model predicts at once.
CHUNK = 10_000
# Rows that are read at once by the compiled schema. One bad row among them costs the others the slower way.
BLOCK = 200


@dataclass(frozen=True)
class Standing:
    """How far a scoring is. share: the fraction of the file; rows: None while its digest is computed."""

    share: float
    rows: int | None = None
    refused: int = 0

    def __str__(self) -> str:
        percent = f"{100 * self.share:.0f} %"
        if self.rows is None:
            return f"reading the file, {percent}"
        return f"{counted(self.rows, 'row')} done, {self.refused:,} refused, {percent}"


@dataclass(frozen=True)
class Scored:
    """What a scoring wrote. rows: the predicted ones; refused_path: None when no row was refused."""

    path: Path
    refused_path: Path | None
    version: int
    rows: int
    refused: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The fields with JSON types."""
        return asdict(self) | {
            "path": str(self.path),
            "refused_path": self.refused_path and str(self.refused_path),
            "seconds": round(self.seconds, 1),
        }

    def __str__(self) -> str:
        refused = f", {self.refused:,} refused ({self.refused_path})" if self.refused_path else ""
        return (
            f"{counted(self.rows, 'row')} scored by version {self.version} in {self.seconds:.1f} s: "
            f"{self.path}{refused}"
        )


def default_target(source: Path) -> Path:
    """`rows.predictions.csv` for `rows.csv`, `rows.csv.gz` and `rows.parquet`."""
    ending = next((end for end in ENDINGS[::-1] if source.name.lower().endswith(end)), "")
    return source.with_name(f"{source.name[: len(source.name) - len(ending)]}.predictions.csv")


def score(
    predictor: Predictor,
    version: "Version",
    source: Path,
    target: Path,
    report: Callable[[Standing], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
    interval: bool = False,
) -> Scored:
    """Writes a line for each row of `source` that keeps the contract, in its order, to `target`.

    version: of which `predictor` is the loaded model. report: is called after each part of the work, every second or
    so. say: is called with each line that a person should read. interval: with the limits of each prediction, where the
    model has intervals.
    The faults of the others are in `<target>.refused.csv`. Both appear whole, or not at all.
    Raises `SourceError` for a file that can't be read, `LabError` when every row is refused, `OSError`.
    """
    started = time.monotonic()
    if interval and predictor.contract.interval is None:
        say("this model has no prediction intervals, so the result has no limits")
        interval = False
    output = output_for(_checked(source, target), predictor.contract, interval)
    before = _state(source)
    checksum = digest(source, lambda share: report(Standing(share)))
    key = {
        "chunk": CHUNK,
        "model": [version.use_case, version.version, version.digest],
        "input": checksum,
        "format": target.suffix.lower(),
        "interval": interval,
    }
    rows = open_source(source, predictor.contract)
    if rows.left_out:
        say(f"{', '.join(rows.left_out[:20])}: not read, because the model has no such field")
    with held(target.with_name(f"{target.name}.part"), key) as part:
        if why := part.resume():
            say(f"an earlier progress doesn't count, because {why}: it begins anew")
        elif part.record.rows:
            say(f"goes on after row {part.record.rows:,}, where an earlier run ended")
        try:
            _fill(part, rows, _Scorer(predictor, version, checksum, interval), output, report)
            if _state(source) != before:
                raise SourceError(f"{source} was changed while it was read; run again")
            return _finish(part, output, version, source, target, started)
        except SourceError:
            # The next run has another file, so it can't go on from here.
            part.remove()
            raise


class _Scorer:
    """The predictions for raw rows of one file."""

    def __init__(self, predictor: Predictor, version: "Version", checksum: str, interval: bool):
        self._predictor, self._version, self._interval = predictor, version, interval
        self._decoder = Decoder(predictor.contract)
        text = f"{version.use_case}\0{version.version}\0{version.digest}\0{checksum}"
        self._seed = hashlib.sha256(text.encode()).digest()

    def score(
        self, rows: Iterator[Row], first: int
    ) -> tuple[int, dict[str, list[Any]], list[dict[str, Any]]]:
        """(number of rows, predictions by column, faults) of the next chunk; first: the number of its first row."""
        matrices: list[np.ndarray] = []
        numbers: list[int] = []
        faults: list[dict[str, Any]] = []
        at = first
        while at < first + CHUNK and (block := list(islice(rows, min(BLOCK, first + CHUNK - at)))):
            self._read(block, at, matrices, numbers, faults)
            at += len(block)
        columns = self._predict(np.concatenate(matrices), numbers, faults) if numbers else {}
        return at - first, columns, sorted(faults, key=lambda fault: fault["row"])

    def _read(
        self,
        block: list[Row],
        first: int,
        matrices: list[np.ndarray],
        numbers: list[int],
        faults: list[dict[str, Any]],
    ) -> None:
        """Adds the block's encoded rows with their numbers, and its faults."""
        good = [row for row in block if isinstance(row, dict)]
        if len(good) == len(block) and (decoded := self._decoder.take(good)):
            matrices.append(decoded.matrix)
            numbers += range(first, first + len(block))
            return
        contract = self._predictor.contract
        typed: list[dict[str, Any]] = []
        for number, row in enumerate(block, first):
            try:
                if isinstance(row, ContractError):
                    raise row
                typed += contract.read([row])
                numbers.append(number)
            except ContractError as error:
                faults += ({**fault, "row": number} for fault in error.problems)
        matrices.append(contract.encode(typed))

    def _predict(
        self, matrix: np.ndarray, numbers: list[int], faults: list[dict[str, Any]]
    ) -> dict[str, list[Any]]:
        try:
            found = self._predictor.predict_encoded(matrix)
        except ModelError as error:
            # The row that it has no finite number for is refused like any other bad row.
            y = self._predictor.run(matrix)
            fine = [bool(np.isfinite(row).all()) for row in y]
            faults += (
                {"row": number, "field": "", "rule": "model", "message": str(error)}
                for number, good in zip(numbers, fine, strict=True)
                if not good
            )
            numbers = [number for number, good in zip(numbers, fine, strict=True) if good]
            found = self._predictor.predict_encoded(matrix[fine]) if numbers else Predicted([], None)
        ids = [hashlib.sha256(self._seed + number.to_bytes(8)).hexdigest()[:32] for number in numbers]
        classes = self._predictor.contract.classes
        columns = prediction_columns(ids, found.values, classes, found.probabilities)
        if self._interval:
            columns |= interval_columns(self._predictor.intervals(found.values) or [])
        return {"row": numbers} | columns | {"model_version": [self._version.version] * len(numbers)}


def _fill(
    part: Part, source: Source, scorer: _Scorer, output: Output, report: Callable[[Standing], None]
) -> None:
    """Scores the rows that aren't done yet."""
    if part.record.whole:
        return
    if not part.record.sizes[0]:
        part.add(output.head(), csv_lines({name: [] for name in FAULT}), 0, 0)
    rows = source.rows(part.record.rows)
    while True:
        done, columns, faults = scorer.score(rows, part.record.rows + 1)
        if not done:
            break
        refused = csv_lines({name: [fault[name] for fault in faults] for name in FAULT}, header=False)
        part.add(output.lines(columns), refused, done, len({fault["row"] for fault in faults}))
        report(Standing(source.share(), part.record.rows, part.record.refused))
    part.close()


# The columns of the file of refused rows.
FAULT = ("row", "field", "rule", "message")


def _finish(
    part: Part, output: Output, version: "Version", source: Path, target: Path, started: float
) -> Scored:
    """Moves both files to their places."""
    record = part.record
    refused = target.with_name(f"{target.name}.refused.csv")
    if not record.rows:
        raise SourceError(f"{source.name} has no row")
    if record.refused:
        part.path(REFUSED).replace(refused)
    else:
        # That of an earlier scoring.
        refused.unlink(missing_ok=True)
    if record.refused == record.rows:
        part.remove()
        raise LabError(f"every row of {source.name} is refused; the reasons are in {refused}")
    output.finish(part.path(PREDICTIONS)).replace(target)
    part.remove()
    seconds, rows = time.monotonic() - started, record.rows - record.refused
    return Scored(target, refused if record.refused else None, version.version, rows, record.refused, seconds)


def _checked(source: Path, target: Path) -> Path:
    """The target. Raises `LabError` when one of the two can't be what it should be."""
    if not source.is_file():
        raise LabError(f"{source} is no file" if source.exists() else f"there is no file {source}")
    if not source.name.lower().endswith(ENDINGS):
        raise LabError(f"{source.name}: rows are a file that ends in {', '.join(ENDINGS)}")
    if target.suffix.lower() not in (".csv", ".parquet"):
        raise LabError(f"{target.name}: predictions are written to a file that ends in .csv or .parquet")
    if target.is_dir():
        raise LabError(f"{target} is a folder")
    if target.exists() and target.samefile(source):
        raise LabError(f"{target} has the rows; name another file for the predictions")
    return target


def _state(path: Path) -> tuple[int, int, int]:
    """What a change of the file changes."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
