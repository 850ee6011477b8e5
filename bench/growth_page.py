"""The tables of the growth bench, and what they say of more rows than anybody ran."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import yaml

from mlops_lab.settings import REPOSITORY

BEYOND = (10_000_000, 100_000_000)
# So many of the largest sizes decide how a step grows.
FITTED = 3
# The largest size must have so many rows: below, a run is mostly start-up, and its growth says nothing.
ENOUGH = 100_000
# What grows by less than this factor from the smallest size to the largest one counts as constant.
GROWS = 1.25
# The loop sorts at most, which from a million rows to a hundred grows by less than this power: a larger one is noise.
STEEPEST = 1.2
DAY = 86_400


@dataclass(frozen=True)
class Step:
    """What one step took at each size: seconds and seconds of the CPU of all batches, the most MiB that a batch added.

    before: MiB of the process before the step, the most of all batches and sizes.
    """

    seconds: list[float]
    cpu: list[float]
    added: list[float]
    before: float


@dataclass(frozen=True)
class Law:
    """start + factor · rows^power: the least that a size takes, and a power law for what comes on top of it."""

    start: float
    factor: float
    power: float

    def at(self, rows: float) -> float:
        """The value at so many rows."""
        return self.start + self.factor * rows**self.power

    def reaches(self, value: float) -> float:
        """The number of rows at which it is so much; infinite when it never is."""
        return (max(value - self.start, 0) / self.factor) ** (1 / self.power) if self.factor else np.inf


def law(sizes: list[int], values: list[float]) -> Law:
    """Through the largest size; the power is by least squares of the logarithms at the largest sizes."""
    start = min(values)
    if values[-1] < GROWS * values[0]:
        return Law(values[-1], 0, 0)
    fitted = min(FITTED, len(sizes) - 1)
    on_top = np.maximum(np.array(values[-fitted:]) - start, 1e-3)
    power = 1.0  # With one point: a line.
    if fitted > 1:
        power = min(float(np.polyfit(np.log(sizes[-fitted:]), np.log(on_top), 1)[0]), STEEPEST)
    if power <= 0:
        return Law(max(values), 0, 0)
    return Law(start, float(on_top[-1]) / sizes[-1] ** power, power)


def lines(sizes: list[int], steps: dict[str, Step], peaks: list[float]) -> list[str]:
    """The tables, and what ends first. peaks: the most MiB that the process ever had, at each size."""
    found = [
        "One run of each size, in one process, without Airflow, with SQLite. Seconds are those of all batches, "
        "in brackets the CPU's; memory is what a step added at its peak, in the batch that took most; at its first "
        "batch that includes the libraries that it loads.",
    ]
    known = sizes[-1] >= ENOUGH
    if known:
        found += [
            "",
            "The columns in italics are **no measurement but an extrapolation**: the least that a size took, and on "
            f"top of it a power law through the largest one: rows to the power b, by the {FITTED} largest sizes, "
            f"at most {STEEPEST}. A dash: it doesn't grow.",
        ]
    whole = Step(
        *([sum(v) for v in zip(*values, strict=True)] for values in _columns(steps)),
        max(step.before for step in steps.values()),
    )
    of_seconds = {name: step.seconds for name, step in steps.items()} | {"**all**": whole.seconds}
    cpu = {name: step.cpu for name, step in steps.items()} | {"**all**": whole.cpu}
    cells = {
        name: [f"{value:,.1f} ({used:,.1f})" for value, used in zip(values, cpu[name], strict=True)]
        for name, values in of_seconds.items()
    }
    found += _table("seconds", sizes, of_seconds, cells, _time if known else None)
    of_added = {name: step.added for name, step in steps.items()} | {"**the process, at its peak**": peaks}
    cells = {name: [f"{value:,.0f}" for value in values] for name, values in of_added.items()}
    found += _table("MiB added", sizes, of_added, cells, _size if known else None)
    return [*found, "", *(_first(sizes, steps, whole) if known else ["Too few rows to say how it goes on."])]


def _columns(steps: dict[str, Step]) -> tuple[list[list[float]], ...]:
    return tuple([getattr(step, name) for step in steps.values()] for name in ("seconds", "cpu", "added"))


def _table(
    title: str,
    sizes: list[int],
    values: dict[str, list[float]],
    cells: dict[str, list[str]],
    unit: Callable[[float], str] | None,
) -> list[str]:
    """unit: how a value is told; None: nothing is extrapolated."""
    head = [title, *(f"{rows:,} rows" for rows in sizes)]
    if unit:
        head += ["b", *(f"*{rows:,}*" for rows in BEYOND)]
    found = ["", _row(head), "|---" * len(head) + "|"]
    for name, of_sizes in values.items():
        row = [name, *cells[name]]
        if unit:
            one = law(sizes, of_sizes)
            row += [
                f"{one.power:.2f}" if one.factor else "–",
                *(f"*{unit(one.at(rows))}*" for rows in BEYOND),
            ]
        found.append(_row(row))
    return found


def _first(sizes: list[int], steps: dict[str, Step], whole: Step) -> list[str]:
    """What ends first, by the laws."""
    limit = worker_limit()
    ends = {name: law(sizes, step.added).reaches(limit - step.before) for name, step in steps.items()}
    first = min(ends, key=lambda name: ends[name])
    day = law(sizes, whole.seconds).reaches(DAY)
    memory = (
        f"the first step that needs more than the {limit:,.0f} MiB of a worker of the stack is **{first}**, at about "
        f"{_round(ends[first])} rows, with the {steps[first].before:,.0f} MiB that its process has before"
        if np.isfinite(ends[first])
        else f"no step leaves the {limit:,.0f} MiB of a worker of the stack"
    )
    time = (
        f"all batches take a day at about {_round(day)} rows"
        if np.isfinite(day)
        else "the seconds don't grow"
    )
    return [f"By the same extrapolation {memory}; {time}."]


def worker_limit() -> float:
    """MiB that a worker of the stack may have."""
    service = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]["airflow-worker"]
    found = re.fullmatch(r"(\d+)M", service["deploy"]["resources"]["limits"]["memory"])
    if found is None:
        raise ValueError("the worker's memory in docker-compose.yml isn't a number of M")
    return float(found[1])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


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
