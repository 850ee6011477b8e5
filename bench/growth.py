"""`make bench-scale PART=growth`: seconds and memory of each step of the loop, at more and more rows of the market.

Each size is a process of its own with a new lab (`growth_run.py`), without Airflow. The figures of the largest sizes
give a power law for each step, and so what 10 and 100 million rows would take if nothing else changed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scale_page import IMAGES, report

from mlops_lab.settings import REPOSITORY

SIZES = {False: [5_000, 10_000, 20_000], True: [10_000, 30_000, 100_000, 300_000, 1_000_000]}
BEYOND = (10_000_000, 100_000_000)
# So many of the largest sizes decide the power law: the smaller ones are mostly start-up.
FITTED = 3
DAY = 86_400
PICTURE = ["![Seconds and memory of each step by the number of rows](images/growth.png)", ""]


@dataclass(frozen=True)
class Step:
    """What one step took at each size: seconds and seconds of the CPU of all batches, the most MiB that a batch added.

    before: MiB of the process before the step, the most of all batches and sizes.
    """

    seconds: list[float]
    cpu: list[float]
    added: list[float]
    before: float


def main() -> None:
    """Measures, draws and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="up to a million rows; writes docs/scale.md")
    parser.add_argument("--rows", type=int, nargs="+", help="these sizes instead, at least two")
    chosen = parser.parse_args()
    sizes = sorted(chosen.rows or SIZES[chosen.full])
    if len(sizes) < 2:
        parser.error("a power law takes two sizes")
    with tempfile.TemporaryDirectory() as folder:
        found = [_run(rows, Path(folder)) for rows in sizes]
    sizes = [run["rows"] for run in found]
    steps = {
        name: _step(name, found) for name in dict.fromkeys(c["step"] for run in found for c in run["calls"])
    }
    if chosen.full:
        _plot(sizes, steps)
    report("growth", [*(PICTURE if chosen.full else []), *lines(sizes, steps)], full=chosen.full)


def _run(rows: int, folder: Path) -> dict:
    print(f"{rows:,} rows", flush=True)
    program = str(Path(__file__).with_name("growth_run.py"))
    with (folder / "log").open("w+") as log:
        done = subprocess.run(
            [sys.executable, program, str(rows), str(folder)], stdout=subprocess.PIPE, stderr=log, text=True
        )
        if done.returncode:
            log.seek(0)
            raise SystemExit(log.read()[-3000:])
    return json.loads(done.stdout)


def _step(name: str, runs: list[dict]) -> Step:
    calls = [[call for call in run["calls"] if call["step"] == name] for run in runs]
    return Step(
        [sum(call["seconds"] for call in of_size) for of_size in calls],
        [sum(call["cpu"] for call in of_size) for of_size in calls],
        [max((call["added"] for call in of_size), default=0) for of_size in calls],
        max((call["before"] for of_size in calls for call in of_size), default=0),
    )


def power_law(sizes: list[int], values: list[float]) -> tuple[float, float]:
    """(a, b) of values = a · sizes^b, by least squares of the logarithms at the largest sizes."""
    x, y = np.log(sizes[-FITTED:]), np.log(np.maximum(values[-FITTED:], 1e-3))
    b, a = np.polyfit(x, y, 1)
    return float(np.exp(a)), float(b)


def lines(sizes: list[int], steps: dict[str, Step]) -> list[str]:
    """The tables, and what ends first."""
    found = [
        "One run of each size, in one process, without Airflow, with SQLite. Seconds are those of all batches, "
        "in brackets the CPU's; memory is what a step added at its peak, in the batch that took most. The last three "
        f"columns are no measurement: a power law, rows to the power b, through the {min(FITTED, len(sizes))} largest "
        "sizes, continued."
    ]
    seconds = {name: step.seconds for name, step in steps.items()}
    added = {name: step.added for name, step in steps.items()}
    whole = [sum(values) for values in zip(*seconds.values(), strict=True)]
    head = [f"{rows:,} rows" for rows in sizes]
    beyond = [f"*{rows:,}*" for rows in BEYOND]
    found += ["", *_row("seconds", *head, "b", *beyond), "|---" * (len(sizes) + 4) + "|"]
    for name, values in (seconds | {"**all**": whole}).items():
        cpu = (
            steps[name].cpu
            if name in steps
            else [sum(v) for v in zip(*(s.cpu for s in steps.values()), strict=True)]
        )
        cells = [f"{value:,.1f} ({used:,.1f})" for value, used in zip(values, cpu, strict=True)]
        a, b = power_law(sizes, values)
        found += _row(name, *cells, f"{b:.2f}", *(f"*{_time(a * rows**b)}*" for rows in BEYOND))
    found += ["", *_row("MiB added", *head, "b", *beyond), "|---" * (len(sizes) + 4) + "|"]
    for name, values in added.items():
        a, b = power_law(sizes, values)
        found += _row(
            name,
            *(f"{value:,.0f}" for value in values),
            f"{b:.2f}",
            *(f"*{_size(a * rows**b)}*" for rows in BEYOND),
        )
    return [*found, "", *_first(sizes, steps, whole)]


def _first(sizes: list[int], steps: dict[str, Step], whole: list[float]) -> list[str]:
    """What ends first, by the power laws."""
    limit = worker_limit()
    ends: dict[str, float] = {}
    for name, step in steps.items():
        a, b = power_law(sizes, step.added)
        if b > 0.1:
            ends[name] = ((limit - step.before) / a) ** (1 / b)
    a, b = power_law(sizes, whole)
    found = []
    if ends:
        first = min(ends, key=lambda name: ends[name])
        found += [
            "By extrapolation, not by measurement: the first step that needs more than the "
            f"{limit:,.0f} MiB of a worker of the stack is **{first}**, at about {_round(ends[first])} rows "
            f"(with the {steps[first].before:,.0f} MiB that its process has before)."
        ]
    return [*found, f"A run of all batches would take a day at about {_round((DAY / a) ** (1 / b))} rows."]


def worker_limit() -> float:
    """MiB that a worker of the stack may have."""
    service = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["airflow-worker"]
    found = re.fullmatch(r"(\d+)M", service["deploy"]["resources"]["limits"]["memory"])
    if found is None:
        raise ValueError("the worker's memory in docker-compose.yml isn't a number of M")
    return float(found[1])


def _row(*cells: str) -> list[str]:
    return ["| " + " | ".join(cells) + " |"]


def _round(value: float) -> str:
    """Two digits: an extrapolation has no more."""
    return f"{float(f'{value:.1e}'):,.0f}"


def _time(seconds: float) -> str:
    for unit, length in (("days", DAY), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return (
                f"{seconds / length:,.0f} {unit}"
                if seconds >= 10 * length
                else f"{seconds / length:.1f} {unit}"
            )
    return f"{seconds:,.0f} s"


def _size(mebibytes: float) -> str:
    return f"{mebibytes / 1024:,.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:,.0f} MiB"


def _plot(sizes: list[int], steps: dict[str, Step]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, step in steps.items():
        left.plot(sizes, step.seconds, marker="o", label=name)
        right.plot(sizes, np.maximum(step.added, 1), marker="o")
    left.set(xscale="log", yscale="log", xlabel="rows in all batches", ylabel="seconds, all batches")
    right.set(xscale="log", yscale="log", xlabel="rows in all batches", ylabel="MiB added at the peak")
    right.axhline(worker_limit(), color="gray", linestyle="--", linewidth=1)
    right.annotate("all that a worker may have", (sizes[0], worker_limit()), va="bottom", fontsize=8)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(IMAGES / "growth.png", dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
