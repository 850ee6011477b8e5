"""`make bench-scale PART=growth`: seconds and memory of each step of the loop, at more and more rows of the market.

Each size is a process of its own with a new lab (`growth_run.py`), without Airflow.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from growth_page import Step, lines, worker_limit
from scale_page import IMAGES, report

SIZES = {False: [5_000, 10_000, 20_000], True: [10_000, 30_000, 100_000, 300_000, 1_000_000]}
PICTURE = ["![Seconds and memory of each step by the number of rows](images/growth.png)", ""]


def main() -> None:
    """Measures, draws and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="up to a million rows; writes docs/scale.md")
    parser.add_argument("--rows", type=int, nargs="+", help="these sizes instead, at least two")
    chosen = parser.parse_args()
    sizes = sorted(chosen.rows or SIZES[chosen.full])
    if len(sizes) < 2:
        parser.error("growth takes two sizes")
    with tempfile.TemporaryDirectory() as folder:
        found = [_run(rows, Path(folder)) for rows in sizes]
    sizes = [run["rows"] for run in found]
    steps = {
        name: _step(name, found) for name in dict.fromkeys(c["step"] for run in found for c in run["calls"])
    }
    if chosen.full:
        _plot(sizes, steps)
    peaks = [max(call["before"] + call["added"] for call in run["calls"]) for run in found]
    report("growth", [*(PICTURE if chosen.full else []), *lines(sizes, steps, peaks)], full=chosen.full)


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


def _plot(sizes: list[int], steps: dict[str, Step]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    # More lines than the usual ten colours.
    for colour, (name, step) in zip(pyplot.get_cmap("tab20").colors, steps.items(), strict=False):
        left.plot(sizes, step.seconds, marker="o", color=colour, label=name)
        right.plot(sizes, np.maximum(step.added, 1), marker="o", color=colour)
    left.set(xscale="log", yscale="log", xlabel="rows in all batches", ylabel="seconds, all batches")
    right.set(xscale="log", yscale="log", xlabel="rows in all batches", ylabel="MiB added at the peak")
    right.set_ylim(top=3 * worker_limit())
    for panel in (left, right):
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.yaxis.set_major_formatter("{x:,.10g}")
    right.axhline(worker_limit(), color="gray", linestyle="--", linewidth=1)
    right.annotate("all that a worker may have", (sizes[0], worker_limit()), va="bottom", fontsize=8)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(IMAGES / "growth.png", dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
