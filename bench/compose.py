"""The housing loop on a booted compose stack: the seconds and the memory of each step, and what Airflow adds to one."""

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from scale_page import report

from mlops_lab.settings import REPOSITORY
from tests.stack.figures import DAG, ORDER, USE_CASE, MemoryWatch, Step, between, steps
from tests.stack.stack import PATIENCE, Stack

SMALL, FULL = 0.02, 1.0
# A worker takes two tasks at once, so three have room for every candidate.
WORKERS = (1, 3)
WORKER = "airflow-worker"


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
    watch = MemoryWatch(stack)
    watch.start()
    airflow, known = stack.airflow(), 0
    while True:
        time.sleep(2)
        runs = airflow.runs(DAG)
        if runs and airflow.skipped_at_land(DAG, runs[0]["dag_run_id"]):
            break
        if len(runs) > known:
            known = len(runs)
            print(f"batch {known}", flush=True)
    watch.stop()
    found = steps(stack)
    limits = {name: _limit(service) for name, service in stack.services.items()}
    return [*_by_step(found, watch), "", *_by_batch(stack, found), "", *_by_service(watch, limits)]


def _by_step(found: Sequence[Step], watch: MemoryWatch) -> list[str]:
    lines = ["| step | seconds, the longest | seconds, all | Airflow adds, s | worker's peak, MiB |"]
    lines += ["|---|--:|--:|--:|--:|"]
    for name in ORDER:
        mine = [step for step in found if step.name == name]
        if not mine:
            continue
        # Trainings wait for each other, and that isn't Airflow's time.
        added = "–" if name == "train" else f"{median(step.added for step in mine):.1f}"
        peak = max(watch.peak(WORKER, step.start, step.end) for step in mine)
        work = [step.work for step in mine]
        lines.append(f"| {name} | {max(work):,.1f} | {sum(work):,.1f} | {added} | {peak / 2**20:,.0f} |")
    one_by_one = [step.added for step in found if step.name in ORDER and step.name != "train"]
    return [*lines, "", f"Airflow adds {median(one_by_one):.1f} s to a step (median of {len(one_by_one)})."]


def _by_batch(stack: Stack, found: Sequence[Step]) -> list[str]:
    query = f"SELECT received FROM RawData.batches WHERE use_case = '{USE_CASE}' ORDER BY id"  # noqa: S608
    lines = ["| batch | rows | seconds |", "|--:|--:|--:|"]
    for number, (received,) in enumerate(stack.sql(query), 1):
        mine = [step for step in found if step.batch == number]
        seconds = max(step.end for step in mine) - min(step.start for step in mine)
        lines.append(f"| {number} | {received:,} | {seconds:,.0f} |")
    return lines


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


def _by_service(watch: MemoryWatch, limits: dict[str, int]) -> list[str]:
    lines = ["| service | peak, MiB | limit, MiB |", "|---|--:|--:|"]
    for service in sorted(watch.samples, key=watch.peak, reverse=True):
        lines.append(f"| {service} | {watch.peak(service) / 2**20:,.0f} | {limits[service] / 2**20:,.0f} |")
    return lines


def _limit(service: dict) -> int:
    return int(service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory", 0))


if __name__ == "__main__":
    main()
