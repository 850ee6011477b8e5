"""`make bench-scale PART=bulk`: how long 50 columns take into MySQL and SQLite, in the lab's way and in others.

Each measurement is a process of its own, and the ways take turns. What is in the table afterwards is compared first.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from bulk_ways import SHARE, SQLITE_WAYS, VARIANTS, WAYS
from mysql_server import mysql
from scale_page import report

ROUNDS = 5


@dataclass
class Cost:
    """One way: seconds, seconds of the client's CPU and peak MiB beyond the DataFrame; one figure a round."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    mebibytes: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half of the range, as a fraction of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="100,000 rows, all variants; writes docs/scale.md"
    )
    parser.add_argument("--rows", type=int, help="so many rows instead")
    chosen = parser.parse_args()
    n = chosen.rows or (100_000 if chosen.full else 10_000)
    variants = list(VARIANTS) if chosen.full else ["mixed"]
    lines = [
        f"{n:,} rows of 50 columns, {ROUNDS} rounds in turns. ± is half of the range of the seconds; CPU is that of "
        "the client alone; memory is the peak beyond the DataFrame that every way starts from. After each way the "
        "table had the same rows, nulls and values."
    ]
    with tempfile.TemporaryDirectory() as folder, mysql() as server:
        # The server of a `LOAD DATA` never sees the folder; the client reads it.
        places = {"MySQL": server, "SQLite": f"sqlite:///{folder}/rows.db"}
        for place, url in places.items():
            if url is None:
                lines += ["", f"{place} was left out."]
                continue
            for variant in variants:
                costs = _measure(tuple(WAYS) if place == "MySQL" else SQLITE_WAYS, variant, n, url, folder)
                lines += ["", f"**{place}, {variant}**: {VARIANTS[variant]}", "", *_table(costs)]
    report("bulk", lines, full=chosen.full)


def _measure(ways: tuple[str, ...], variant: str, n: int, url: str, folder: str) -> dict[str, Cost]:
    costs: dict[str, Cost] = defaultdict(Cost)
    program = str(Path(__file__).with_name("bulk_ways.py"))
    for number in range(ROUNDS):
        for way in ways:
            words = [way, variant, str(n), url, folder, "" if number else "compare"]
            done = subprocess.run(
                [sys.executable, program, *words], stdout=subprocess.PIPE, text=True, check=True
            )
            found = json.loads(done.stdout)
            if found.get("stored") != found.get("wanted"):
                raise SystemExit(f"{way} stored {found['stored']}, not {found['wanted']}")
            share = SHARE.get(way, 1)
            costs[way].seconds.append(found["seconds"] / share)
            costs[way].cpu.append(found["cpu"] / share)
            costs[way].mebibytes.append(found["mebibytes"])
        print(f"{url.partition(':')[0]}, {variant}: round {number + 1} of {ROUNDS}", flush=True)
    return costs


def _table(costs: dict[str, Cost]) -> list[str]:
    lab = costs["lab"].median
    lines = ["| way | seconds | ± | CPU, s | memory, MiB | seconds, lab = 1 |", "|---|---|---|---|---|---|"]
    for way, cost in costs.items():
        name = WAYS[way] + (f" (of {SHARE[way]:.0%} of the rows)" if way in SHARE else "")
        lines.append(
            f"| {name} | {cost.median:.2f} | {cost.spread:.0%} | {statistics.median(cost.cpu):.2f} "
            f"| {statistics.median(cost.mebibytes):,.0f} | {cost.median / lab:.3g} |"
        )
    return lines


if __name__ == "__main__":
    main()
