"""Scoring as a job of the lab: rows of an object or of a query in, an object of predictions out.

A job's rows are copied into a folder of its own first, and stay the same for each further try of the job.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_lab.errors import LabError
from mlops_lab.files import write_file, write_whole
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.scoring.query import is_query, write_rows
from mlops_lab.scoring.scorer import Standing, score
from mlops_lab.scoring.source import ENDINGS
from mlops_lab.use_case import UseCase

# The folder of the bucket that has the results. Nothing else of the lab is written there.
RESULTS = "scoring/"
# Seconds after which nobody tries a job again, and its folder is removed.
ABANDONED = 7 * 86400.0
# Seconds between two lines of progress.
INTERVAL = 10.0

_DONE = "done.json"


def default_target(use_case: UseCase, job: str) -> str:
    """The object that a job's predictions become, when nobody names one."""
    return f"{RESULTS}{use_case.name}/{re.sub(r'[^A-Za-z0-9._-]', '-', job)}.csv"


def run_job(
    lab: Lab, use_case: UseCase, job: str, source: str, target: str | None, version: int | None
) -> dict[str, Any]:
    """Scores the rows of `source`, an object of the bucket or a SELECT, into the object `target`.

    job: its id; a call with the same id goes on with what the call before left. version: None for the champion.
    Returns path, rows, refused, refused_path, version and seconds. Raises `LabError`, or `ServiceError` while a service
    is away.
    """
    target = target or default_target(use_case, job)
    _check(source, target)
    jobs = lab.incoming_folder / use_case.name / "scoring"
    folder = jobs / hashlib.sha256(job.encode()).hexdigest()[:16]
    _remove_abandoned(jobs)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    result = folder / f"predictions{Path(target).suffix.lower()}"
    refused = result.with_name(f"{result.name}.refused.csv")
    if not (folder / _DONE).exists():
        rows = _rows(lab, source, folder)
        chosen = (
            lab.champion(use_case.name) if version is None else lab.registry.version(use_case.name, version)
        )
        done = score(
            lab.predictor(chosen), chosen, rows, result, _every(INTERVAL, lab.progress), lab.progress
        )
        write_whole(folder / _DONE, json.dumps(done.as_json()))
    found = json.loads((folder / _DONE).read_text(encoding="utf-8"))
    # The refused rows first: who sees the result sees what it lacks.
    if found["refused"]:
        found["refused_path"] = lab.artifacts.upload(refused, f"{target}.refused.csv")
    found["path"] = lab.artifacts.upload(result, target)
    shutil.rmtree(folder, ignore_errors=True)
    lab.progress(
        f"{counted(found['rows'], 'row')} scored by version {found['version']}, {found['refused']:,} refused: {target}"
    )
    return found


def _rows(lab: Lab, source: str, folder: Path) -> Path:
    """The rows of the source as a file in the folder; what is there already stays."""
    if is_query(source):
        file = folder / "rows.csv"
        if not file.exists():
            number = write_rows(lab.settings, source, file)
            lab.progress(f"{counted(number, 'row')} of the query")
        return file
    ending = next(ending for ending in ENDINGS if source.lower().endswith(ending))
    file = folder / f"rows{ending}"
    if not file.exists():
        with write_file(file) as arriving:
            lab.artifacts.download(source, arriving)
    return file


def _check(source: str, target: str) -> None:
    """Raises `LabError` for a path that isn't the bucket's, or that something else of the lab has."""
    if not is_query(source):
        _check_path(source)
        if not source.lower().endswith(ENDINGS):
            raise LabError(
                f"source {source!r}: neither a SELECT nor an object that ends in {', '.join(ENDINGS)}"
            )
    _check_path(target)
    if not target.startswith(RESULTS) or not target.lower().endswith((".csv", ".parquet")):
        raise LabError(f"target {target!r}: it must begin with {RESULTS} and end in .csv or .parquet")


def _check_path(path: str) -> None:
    parts = path.split("/")
    if not path.isprintable() or any(part in ("", ".", "..") for part in parts) or len(path) > 500:
        raise LabError(
            f"{path[:100]!r} is no path of the bucket: folder/name, without a / at its begin and without .."
        )


def _remove_abandoned(jobs: Path) -> None:
    for folder in jobs.glob("*"):
        newest = max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0)
        if time.time() - newest > ABANDONED:
            shutil.rmtree(folder, ignore_errors=True)


def _every(seconds: float, progress: Callable[[str], None]) -> Callable[[Standing], None]:
    """Reports the progress at most once in so many seconds."""
    last = time.monotonic()

    def report(standing: Standing) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            progress(str(standing))

    return report
