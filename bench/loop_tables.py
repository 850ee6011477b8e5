"""The tables of a whole loop through Airflow: seconds and memory of each step, batch and service."""

from collections.abc import Sequence
from statistics import median

from tests.stack.figures import ORDER, USE_CASE, MemoryWatch, Step

WORKER = "airflow-worker"
# The rows of each batch, the oldest first.
BATCHES = f"SELECT received FROM RawData.batches WHERE use_case = '{USE_CASE}' ORDER BY id"  # noqa: S608


def tables(
    found: Sequence[Step], batches: Sequence[Sequence[int]], watch: MemoryWatch, limits: dict[str, int]
) -> list[str]:
    """Lines of Markdown. batches: what `BATCHES` gives. limits: service → bytes that its container may have."""
    return [*_by_step(found, watch), "", *_by_batch(found, batches), "", *_by_service(watch, limits)]


def _by_step(found: Sequence[Step], watch: MemoryWatch) -> list[str]:
    lines = ["| step | seconds, the longest | seconds, all | Airflow adds, s | worker's peak, MiB |"]
    lines += ["|---|--:|--:|--:|--:|"]
    for name in ORDER:
        mine = [step for step in found if step.name == name]
        if not mine:
            continue
        # Trainings wait for each other, and that isn't Airflow's time.
        added = "–" if name == "train" else f"{median(step.added for step in mine):.1f}"
        # A dash: shorter than the time between two looks.
        highest = max(watch.peak(WORKER, step.start, step.end) for step in mine)
        peak = f"{highest / 2**20:,.0f}" if highest else "–"
        work = [step.work for step in mine]
        lines.append(f"| {name} | {max(work):,.1f} | {sum(work):,.1f} | {added} | {peak} |")
    one_by_one = [step.added for step in found if step.name in ORDER and step.name != "train"]
    return [*lines, "", f"Airflow adds {median(one_by_one):.1f} s to a step (median of {len(one_by_one)})."]


def _by_batch(found: Sequence[Step], batches: Sequence[Sequence[int]]) -> list[str]:
    lines = ["| batch | rows | seconds |", "|--:|--:|--:|"]
    for number, (received,) in enumerate(batches, 1):
        mine = [step for step in found if step.batch == number]
        seconds = max(step.end for step in mine) - min(step.start for step in mine)
        lines.append(f"| {number} | {received:,} | {seconds:,.0f} |")
    return lines


def _by_service(watch: MemoryWatch, limits: dict[str, int]) -> list[str]:
    lines = ["| service | peak, MiB | limit, MiB |", "|---|--:|--:|"]
    for service in sorted(watch.samples, key=watch.peak, reverse=True):
        lines.append(f"| {service} | {watch.peak(service) / 2**20:,.0f} | {limits[service] / 2**20:,.0f} |")
    return lines
