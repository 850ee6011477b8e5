"""The housing loop on a booted compose stack: the seconds and the memory of each step, and what Airflow adds to one."""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

from loop_tables import BATCHES, WORKER, tables
from scale_page import report

from mlops_lab.settings import REPOSITORY
from tests.stack.figures import (
    DAG,
    USE_CASE,
    MemoryWatch,
    between,
    containers_memory,
    steps,
    until_the_data_ends,
)
from tests.stack.stack import PATIENCE, Stack

SMALL, FULL = 0.02, 1.0
# A worker takes two tasks at once, so three have room for every candidate.
WORKERS = (1, 3)


def main() -> None:
    """Boots the stack, runs the loop to the end of the data, and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the course's size, written into docs/scale.md")
    parser.add_argument("--scale", type=float, help="the size of the market: 1 has 895,512 rows")
    chosen = parser.parse_args()
    scale = chosen.scale or (FULL if chosen.full else SMALL)
    with tempfile.TemporaryDirectory() as folder:
        cases, data = Path(folder, "use_cases"), Path(folder, "data")
        cases.mkdir()
        data.mkdir()
        # The services read them as another user.
        for readable in (Path(folder), cases, data):
            readable.chmod(0o755)
        shutil.copy(REPOSITORY / "use_cases" / f"{USE_CASE}.py", cases)
        stack = Stack(cases, data, scale=scale)
        try:
            lines = [*_loop(stack), "", *_side_by_side(stack)]
        finally:
            stack.down("--volumes")
    report("compose", [f"**{USE_CASE} at scale {scale:g}**", "", *lines], full=chosen.full)


def _loop(stack: Stack) -> list[str]:
    """The whole loop with one worker, until the data ends."""
    stack.compose("build", timeout=3 * PATIENCE)
    stack.up()
    watch = MemoryWatch(containers_memory(stack))
    watch.start()
    until_the_data_ends(stack)
    watch.stop()
    limits = {name: _limit(service) for name, service in stack.services.items()}
    return tables(steps(stack), stack.sql(BATCHES), watch, limits)


def _side_by_side(stack: Stack) -> list[str]:
    """A training of all candidates on the stored rows, with one worker and with three."""
    airflow = stack.airflow()
    lines = ["| workers | trainings, s | the longest | all, one after another |", "|--:|--:|--:|--:|"]
    for workers in WORKERS:
        stack.up("--no-recreate", "--scale", f"{WORKER}={workers}")
        run = airflow.trigger(DAG, force=True, reason="how candidates train side by side")
        while airflow.run(DAG, run)["state"] not in ("success", "failed"):
            time.sleep(2)
        spans = [between(task) for task in airflow.tasks(DAG, run) if task["task_id"] == "train"]
        seconds = max(end for _, end in spans) - min(start for start, _ in spans)
        took = [end - start for start, end in spans]
        lines.append(f"| {workers} | {seconds:,.0f} | {max(took):,.0f} | {sum(took):,.0f} |")
    return lines


def _limit(service: dict) -> int:
    return int(service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory", 0))


if __name__ == "__main__":
    main()
