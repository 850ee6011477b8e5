"""`make bench-scale PART=workers`: a candidate on Dask with 1, 2 and 3 workers beside the same one in one process.

Each training is a process of its own with the housing market's snapshots, which one lab has prepared before.
Its workers are processes on this machine with one thread each.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Any

import psutil
from memory import process, stored
from memory_peak import memory, reset_peak
from scale_page import report

from mlops_lab import gradient_boosting, on_dask
from mlops_lab.lab import Lab
from mlops_lab.model.train import learn
from mlops_lab.model.training_rows import training_rows
from mlops_lab.settings import Settings
from mlops_lab.steps.on_dask import rows_on_dask

SIZES = {False: [5_000], True: [100_000, 300_000, 895_512]}
TREES = {False: 10, True: 400}
# 0 is one process without Dask.
WORKERS = {False: [0, 2], True: [0, 1, 2, 3]}


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the course's size; writes docs/scale.md")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        workers, trees = chosen.one
        print(json.dumps(_learn(workers, trees) if trees else stored()))
        return
    found = []
    for rows in SIZES[chosen.full]:
        with tempfile.TemporaryDirectory() as home:
            there = process(__file__, home, rows, "0", "0")["stored"]
            for workers in WORKERS[chosen.full]:
                print(f"{rows:,} rows, {workers} workers", file=sys.stderr, flush=True)
                one = process(__file__, home, rows, str(workers), str(TREES[chosen.full]))
                found.append((rows, there, workers, one))
    report("workers", lines(found), full=chosen.full)


def lines(found: list[tuple[int, int, int, dict[str, float]]]) -> list[str]:
    """The table."""
    said = [
        "`start` is until the workers have their rows (without Dask: until they are encoded), `learn` the seconds from "
        "then to the checked graph. MiB are peaks, of the process that trains and of the largest worker.",
        "",
        "| rows as served | stored | workers | start, s | learn, s | process, MiB | worker, MiB | rmse_log |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows, stored_, workers, one in found:
        worker = f"{one['worker']:,.0f}" if workers else "–"
        said.append(
            f"| {rows:,} | {stored_:,} | {workers or 'none'} | {one['start']:.1f} | {one['learn']:.1f} | "
            f"{one['process']:,.0f} | {worker} | {one['score']:.4f} |"
        )
    return said


def _learn(workers: int, trees: int) -> dict[str, float]:
    lab = Lab(Settings(dask_processes=workers or 1), lambda _: None)
    use_case = lab.use_case("housing")
    candidate = gradient_boosting({"n_estimators": trees}, log_target=True)
    peak = _Peak()
    reset_peak()
    began = time.perf_counter()
    with ExitStack() as held, peak:
        if workers:
            rows = held.enter_context(rows_on_dask(lab, use_case, lambda _: None))
            candidate = on_dask(candidate)
        else:
            rows = training_rows(lab.snapshots, use_case)
        started = time.perf_counter()
        trained = learn(use_case, candidate, rows.encoded)
        ended = time.perf_counter()
    return {
        "start": started - began,
        "learn": ended - started,
        "process": memory("VmHWM"),
        "worker": peak.most,
        "score": trained.metrics["test"]["rmse_log"],
    }


class _Peak:
    """The greatest peak of a child process, in MiB, while the block runs."""

    def __init__(self) -> None:
        self.most = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process(os.getpid())
        while not self._ended.wait(0.2):
            for child in me.children():
                try:
                    self.most = max(self.most, memory("VmHWM", child.pid))
                except (OSError, StopIteration):  # it has ended
                    continue


if __name__ == "__main__":
    main()
