"""The report of a load test: Locust's HTML page, a plot, a JSON file and one line of text."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

COLOURS = ("#3b7dc4", "#d9783a")


@dataclass(frozen=True)
class Finding:
    """The result of both searches.

    bound: milliseconds for the 95th percentile. held: the most users that each search held; 0: none. agree: the two
    are at most one step apart. top: the most users that could be tried. in_time: both searches ended before the time
    limit. steps: the measured steps of both searches.
    """

    use_cases: list[str]
    bound: float
    held: list[int]
    agree: bool
    top: int
    in_time: bool
    steps: list[dict[str, Any]]

    @property
    def users(self) -> int | None:
        """The smaller result of two searches that agree; else None."""
        return min(self.held) if self.agree and self.in_time else None

    @property
    def line(self) -> str:
        """The result as one sentence."""
        rule = f"(bound: 95 % of the answers within {self.bound:g} ms, no error)"
        pair = " and ".join(f"{users:,}" for users in self.held)
        if not self.in_time:
            return f"The time limit ended the test before both searches were complete: {pair} users so far {rule}."
        if not self.agree:
            return (
                f"No result on a busy machine: the searches held {pair} users, more than a step apart {rule}."
            )
        if not self.users:
            first = min(self.steps, key=lambda step: step["users"])
            return f"The API doesn't hold {first['users']} users, the fewest tried {rule}: {first['broke']}."
        least = "at least " if self.users == self.top else ""
        step = next(s for s in self.steps if s["users"] == self.users and not s["broke"])
        return (
            f"The API holds {least}{self.users:,} users at once {rule}: {step['per_second']:,.0f} requests a second "
            f"for {', '.join(self.use_cases)}. The two searches found {pair}."
        )

    @property
    def limit(self) -> str:
        """Per search, the reason why the smallest failed step failed."""
        broke = {s["search"]: s["broke"] for s in sorted(self.steps, key=lambda s: -s["users"]) if s["broke"]}
        return "; ".join(f"search {number}: {why}" for number, why in sorted(broke.items()))


def write(found: Finding, page: str, folder: Path) -> str:
    """Writes `report.html`, `report.png`, `report.json` and `line.txt` into the folder. Returns the line.

    page: Locust's own report, as HTML.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "line": found.line,
        "limit": found.limit,
        "users": found.users,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_average": round(os.getloadavg()[0], 1),
    }
    (folder / "report.json").write_text(json.dumps(about | asdict(found), indent=1) + "\n")
    (folder / "line.txt").write_text(found.line + "\n")
    plot(found).savefig(folder / "report.png", dpi=110)
    (folder / "report.html").write_text(page)
    return found.line


def plot(found: Finding) -> Figure:
    """Latency (ms) and requests a second by number of users. A cross is a failed step."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    latency, rate = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    for number in sorted({step["search"] for step in found.steps}):
        steps = sorted((s for s in found.steps if s["search"] == number), key=lambda s: s["users"])
        colour, users = COLOURS[(number - 1) % len(COLOURS)], [s["users"] for s in steps]
        latency.plot(
            users, [s["p95"] for s in steps], color=colour, linewidth=1, label=f"search {number}, 95 %"
        )
        latency.plot(
            users, [s["median"] for s in steps], color=colour, linewidth=1, linestyle=":", label="median"
        )
        for broke, marker in ((False, "o"), (True, "x")):
            chosen = [s for s in steps if bool(s["broke"]) == broke]
            latency.scatter(
                [s["users"] for s in chosen], [s["p95"] for s in chosen], color=colour, marker=marker
            )
        rate.plot(users, [s["per_second"] for s in steps], color=colour, linewidth=1, marker=".")
    latency.axhline(
        found.bound, color="#b5543c", linestyle="--", linewidth=1, label=f"bound, {found.bound:g} ms"
    )
    latency.set_xscale("log")
    latency.set_yscale("log")
    if found.users:
        latency.axvline(found.users, color="#2f8f5b", linewidth=1, label=f"{found.users:,} users held")
    latency.set_ylabel("milliseconds")
    latency.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    latency.set_title("Latency by number of users; x: a failed step", fontsize=10, loc="left")
    rate.set_ylabel("requests a second")
    rate.set_xlabel("users at once, each with about one request a second")
    for axes in (latency, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure
