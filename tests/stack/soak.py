"""Measures a stack while it works for long: memory, open files, disk, queues. Says what grows, and draws it."""

import csv
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pymysql
from matplotlib.figure import Figure

from tests.stack.stack import Stack

# What Prometheus is asked for: name in the plot → query.
QUEUES = {
    "tasks in Airflow's queue": "sum(lab_queue_tasks)",
    "predictions in the spool": "sum(inference_prediction_spool_rows)",
    "oldest batch, s": "max(lab_unfinished_batch_seconds)",
}
# Prints the number of open files of the container's processes, then the facts on memory of its control group, which has
# two versions. The user of the command is that of the service, so it may look.
LOOK = """
ls /proc/[0-9]*/fd 2>/dev/null | wc -l
cat /sys/fs/cgroup/memory.stat 2>/dev/null || cat /sys/fs/cgroup/memory/memory.stat
"""
# Bytes that the processes hold: `rss` in the first version, `anon` in the second. The page cache isn't counted, since
# the kernel gives it back.
OWN_MEMORY = re.compile(r"^(?:rss|anon|shmem) (\d+)$", re.MULTILINE)
KINDS = {
    "memory": "Memory of each container's processes, MiB; MySQL without its buffer pool",
    "files": "Open files of each container",
    "disk": "Volumes, MiB",
    "queue": "Waiting tasks and rows, seconds",
}
# Lines of the plot with a name of their own; the others are grey.
NAMED = 7


class Samples:
    """Figures of the stack over time: (kind, name) → [(seconds since the start, value)].

    The kinds are `memory` (MiB of each container's processes), `files` (their open ones), `disk` (MiB of each volume)
    and `queue`. A container that is down at a moment has no value then.
    """

    def __init__(self, stack: Stack):
        self._stack, self._began = stack, time.monotonic()
        # (seconds, what was caused)
        self.faults: list[tuple[float, str]] = []
        self.series: dict[tuple[str, str], list[tuple[float, float]]] = {}

    @contextmanager
    def taken(self, pause: float) -> Iterator[None]:
        """They are taken every `pause` seconds while the block runs."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(pause):
                self.take()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)

    def take(self) -> None:
        at = time.monotonic() - self._began
        for read in (self._processes, self._disk, self._queues):
            try:
                found = read()
            except (AssertionError, subprocess.SubprocessError):
                # The engine or a container is on its way down or up.
                continue
            for key, value in found.items():
                self.series.setdefault(key, []).append((at, value))

    def fault(self, what: str) -> None:
        self.faults.append((time.monotonic() - self._began, what))

    def _processes(self) -> dict[tuple[str, str], float]:
        found = {}
        for service in self._stack.running():
            printed = self._stack.run_in(service, "sh", "-c", LOOK, check=False)
            if parts := OWN_MEMORY.findall(printed):
                found["files", service] = float(printed.split()[0])
                found["memory", service] = sum(map(int, parts)) / 2**20
        if ("memory", "mysql") in found:
            try:
                # Its size is a setting, and it fills anew after each start.
                [(_, pool)] = self._stack.sql("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_bytes_data'")
                found["memory", "mysql"] -= int(pool) / 2**20
            except pymysql.MySQLError:
                del found["memory", "mysql"]
        return found

    def _disk(self) -> dict[tuple[str, str], float]:
        return {("disk", volume["name"]): volume["size"] for volume in self._stack.volumes()}

    def _queues(self) -> dict[tuple[str, str], float]:
        found = {}
        for name, query in QUEUES.items():
            try:
                reply = httpx.get(
                    f"{self._stack.url('prometheus')}/api/v1/query", params={"query": query}, timeout=10
                )
                for sample in reply.raise_for_status().json()["data"]["result"]:
                    found["queue", name] = float(sample["value"][1])
            except httpx.HTTPError:
                continue
        return found

    # What they say

    def ends(self, kind: str) -> dict[str, tuple[float, float]]:
        """Name → median of the second sixth, when all has started, and of the last sixth of the time."""
        end = max(at for points in self.series.values() for at, _ in points)
        found = {}
        for (its_kind, name), points in self.series.items():
            early = [value for at, value in points if end / 6 <= at <= end / 3]
            late = [value for at, value in points if at >= end * 5 / 6]
            if its_kind == kind and early and late:
                found[name] = (statistics.median(early), statistics.median(late))
        return found

    def write(self, path: Path) -> None:
        """A CSV file: kind, name, seconds, value."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["kind", "name", "seconds", "value"])
            for (kind, name), points in self.series.items():
                writer.writerows([kind, name, round(at), round(value, 2)] for at, value in points)

    def draw(self, path: Path) -> None:
        """A picture with a panel for each kind; each fault is a numbered line, named below."""
        figure = Figure(figsize=(11, 13), layout="constrained")
        panels = figure.subplots(len(KINDS), sharex=True)
        for panel, (kind, title) in zip(panels, KINDS.items(), strict=True):
            lines = {name: points for (its_kind, name), points in self.series.items() if its_kind == kind}
            largest = sorted(lines, key=lambda name: max(value for _, value in lines[name]), reverse=True)
            for rank, name in enumerate(largest):
                minutes, values = [at / 60 for at, _ in lines[name]], [value for _, value in lines[name]]
                named = {"label": name} if rank < NAMED else {"color": "0.8", "zorder": 1}
                panel.plot(minutes, values, linewidth=1.2, **named)
            panel.set_title(title, loc="left", fontsize=11)
            panel.set_ylim(bottom=0)
            panel.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, frameon=False)
            for number, (at, _) in enumerate(self.faults, start=1):
                panel.axvline(at / 60, color="0.6", linestyle=":", linewidth=1)
                panel.annotate(str(number), (at / 60, 1), xycoords=("data", "axes fraction"), fontsize=8)
        panels[-1].set_xlabel("minutes")
        named = [f"{number} {what}" for number, (_, what) in enumerate(self.faults, start=1)]
        half = (len(named) + 1) // 2
        figure.supxlabel("\n".join(", ".join(part) for part in (named[:half], named[half:])), fontsize=8)
        figure.savefig(path, dpi=90)
