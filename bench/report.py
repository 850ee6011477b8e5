"""The bench's figures: printed, and written with their plot into docs/performance.md."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from machine import machine
from measure import Cost
from parts import Parts
from reloads import Reloads

from mlops_lab.settings import REPOSITORY

PAGE = REPOSITORY / "docs" / "performance.md"
PLOT = REPOSITORY / "docs" / "images" / "performance.png"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench writes -->"
NAMES = {
    "lab": "the lab, as shipped",
    "arrow": "the lab, rows as an Arrow stream",
    "csv": "the lab, rows as CSV",
    "v2": "the lab, Open Inference Protocol V2",
    "constant": "FastAPI route that parses the body and answers a constant",
    "asgi": "bare ASGI, answers a constant",
    "pandas": "FastAPI, pydantic, DataFrame, pickle",
    "mlflow": "`mlflow models serve`, the same trees",
    "one_hot": "`mlflow models serve`, one-hot categories",
}


@dataclass(frozen=True)
class Result:
    """costs: rows in a request → server → cost. own: rows in a request → cost of the model's own run.

    trials: state of the service → cost of one row.
    """

    costs: dict[int, dict[str, Cost]]
    own: dict[int, Cost]
    parts: Parts
    reloads: Reloads
    trials: dict[str, Cost]


def write(result: Result) -> None:
    """Prints the tables, and replaces those of docs/performance.md and its plot."""
    lines = _lines(result)
    print("\n".join(lines))
    text = PAGE.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(head + "\n\n".join([BEGIN, "\n".join(lines), END]) + tail)
    _plot(result)


def _lines(result: Result) -> list[str]:
    lines = [f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine()}."]
    for n, costs in result.costs.items():
        lab, model = costs["lab"].median_cpu, result.own[n].median_cpu
        lines += ["", f"**{n:,} row{'s' * (n > 1)} in a request**", ""]
        lines += ["| server | CPU, µs | ± | reply after, µs | requests a second of one core, lab = 1 |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {NAMES[name]} | {cost.median_cpu:,.0f} | {cost.spread:.0%} | {cost.median_lapse:,.0f} "
            f"| {lab / cost.median_cpu:.3g} |"
            for name, cost in costs.items()
        ]
        lines += [f"| the model's own run | {model:,.0f} | {result.own[n].spread:.0%} | | |"]
        ways = {"as JSON": "lab", "as Arrow": "arrow", "as CSV": "csv", "as V2": "v2"}
        beyond = [
            f"{(costs[name].median_cpu - model) / n:,.0f} {way}"
            for way, name in ways.items()
            if name in costs
        ]
        lines += ["", f"Beyond the model's own run, the lab needs for each row, in µs: {', '.join(beyond)}."]
    found = result.parts
    lines += [
        "",
        f"Of one request, counting takes {found.metrics:.1f} µs, drift {found.drift:.1f} µs, and the log, which works "
        f"after the reply, {found.log:.1f} µs.",
    ]
    return [*lines, *_trial_lines(result.trials), *_reload_lines(result.reloads)]


def _trial_lines(costs: dict[str, Cost]) -> list[str]:
    return [
        "",
        "| one row, by trial | CPU, µs | ± | reply after, µs |",
        "|---|---|---|---|",
        *(
            f"| {way} | {cost.median_cpu:,.0f} | {cost.spread:.0%} | {cost.median_lapse:,.0f} |"
            for way, cost in costs.items()
        ),
    ]


def _reload_lines(found: Reloads) -> list[str]:
    ways = {"no change": found.still, "champions change": found.moving}
    return [
        "",
        f"With three models, and after these requests, the service has {found.mebibytes:.0f} MiB of its own.",
        "",
        f"The champion changed {found.moves} times while {found.callers} callers sent {len(found.moving):,} requests; "
        f"{found.failed} of these failed. Time to the reply, in ms:",
        "",
        "| | median | 99 % | longest |",
        "|---|---|---|---|",
        *(
            f"| {way} | {np.median(lapses):.2f} | {np.quantile(lapses, 0.99):.2f} | {max(lapses):.1f} |"
            for way, lapses in ways.items()
        ),
    ]


def _plot(result: Result) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(result.costs), figsize=(10, 2.8), sharey=True, layout="constrained")
    for panel, (n, costs) in zip(axes, result.costs.items(), strict=True):
        names = [NAMES[name].replace("`", "") for name in costs]
        values = [cost.median_cpu / n for cost in costs.values()]
        bars = panel.barh(names, values, color=["tab:blue"] + ["tab:gray"] * (len(names) - 1))
        panel.bar_label(
            bars, [f"{value:,.0f}" if value >= 1 else f"{value:.1f}" for value in values], padding=3
        )
        panel.set(xscale="log", title=f"{n:,} row{'s' * (n > 1)} in a request", xlabel="µs of CPU a row")
        panel.margins(x=0.3)
    # Shared by the panels.
    axes[0].invert_yaxis()
    figure.savefig(PLOT, dpi=110)
