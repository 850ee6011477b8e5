"""What a load test found: a page, a picture, figures for programs and one line for people."""

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
    """Both searches. `held`: the most users that each held (0: none); `agree`: within one step of each other."""

    use_cases: list[str]
    bound: float
    held: list[int]
    agree: bool
    top: int
    in_time: bool
    steps: list[dict[str, Any]]

    @property
    def users(self) -> int | None:
        """The most users that are held for sure: the smaller number of two that agree."""
        return min(self.held) if self.agree and self.in_time else None

    @property
    def line(self) -> str:
        """The finding as one sentence."""
        rule = f"(95 % of the answers within {self.bound:g} ms, no error)"
        pair = " and ".join(f"{users:,}" for users in self.held)
        if not self.in_time:
            return f"Time was up before the second search ended: it held {pair} users so far {rule}."
        if not self.agree:
            return f"The machine was too noisy to say: one search held {pair} users, more than a step apart {rule}."
        if not self.users:
            first = min(self.steps, key=lambda step: step["users"])
            return f"Not even {first['users']} users are held {rule}: {first['broke']}."
        least = "at least " if self.users == self.top else ""
        step = next(s for s in self.steps if s["users"] == self.users and not s["broke"])
        return (
            f"{least}{self.users:,} users at once are held {rule}: {step['per_second']:,.0f} requests a second of "
            f"{', '.join(self.use_cases)}; two searches found {pair}."
        )

    @property
    def limit(self) -> str:
        """What broke the step above, once for each search."""
        broke = {s["search"]: s["broke"] for s in sorted(self.steps, key=lambda s: -s["users"]) if s["broke"]}
        return "; ".join(f"search {number}: {why}" for number, why in sorted(broke.items()))


def write(found: Finding, page: str, folder: Path) -> str:
    """`report.html`, `report.png`, `report.json` and `line.txt` in the folder; returns the line.

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
    """Latency and requests a second over users; crosses are steps that broke."""
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
    latency.set_title("Latency by users at once; x: a step that broke", fontsize=10, loc="left")
    rate.set_ylabel("requests a second")
    rate.set_xlabel("users at once, each asking about once a second")
    for axes in (latency, rate):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return figure
