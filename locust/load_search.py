"""How many users the prediction API holds: the search itself, run by `load_test.py` in a process of its own.

Users climb a ladder of steps a quarter apart: by leaps until a step breaks (an error, or too slow), then by
halves between. The whole search is done twice, since one number from a busy machine means little.
"""

import argparse
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

# Locust patches the sockets of everything that comes after it.
import locustfile  # isort: skip
import gevent
import load_report
from locust.env import Environment
from locust.html import get_html_report
from locust.stats import stats_history

from locust import events
from mlops_lab.errors import LabError
from mlops_lab.formatting import counted

LADDER = sorted({round(5 * 1.25**rung) for rung in range(31)})  # 5, 6, 8, … 4,039 users
FIRST, LEAP = 9, 3  # rungs: where a search begins, and twice as many users
SETTLE = 2.0  # seconds of each step that are not measured
BUSY = 0.9  # of one core: beyond, the load generator measures itself


@dataclass(frozen=True)
class Step:
    """One step as it was measured. `broke`: why it didn't hold; empty when it did. Times in milliseconds."""

    search: int
    users: int
    requests: int
    failures: int
    per_second: float
    median: float
    p95: float
    generator: float
    broke: str


class Window:
    """Answers between two moments."""

    def __init__(self):
        self.times: list[float] = []
        self.faults: dict[str, int] = {}

    def take(self, response_time, exception=None, **_) -> None:
        if exception:
            text = str(exception)
            self.faults[text] = self.faults.get(text, 0) + 1
        else:
            self.times.append(response_time)


class Search:
    """Climbs the ladder with Locust's users."""

    def __init__(
        self, environment: Environment, ladder: list[int], bound: float, hold: float, deadline: float
    ):
        self._runner = environment.create_local_runner()
        self.ladder, self._bound, self._hold, self._deadline = ladder, bound, hold, deadline
        self._window = Window()
        self.steps: list[Step] = []
        environment.events.request.add_listener(lambda **answer: self._window.take(**answer))
        self._history = gevent.spawn(stats_history, self._runner)

    def run(self, number: int) -> int:
        """The highest rung that held, or -1 when not even the first did. Stops early when time is up."""
        held, broken, top = -1, len(self.ladder), len(self.ladder) - 1
        rung = min(FIRST, top)
        while held + 1 < broken and time.monotonic() < self._deadline:
            step = self._measure(number, self.ladder[rung])
            if step.broke:
                broken = rung
            else:
                held = rung
            rung = min(held + LEAP, top) if broken > top else (held + broken) // 2
        self._set_users(self.ladder[0])
        return held

    def stop(self) -> None:
        self._runner.quit()
        self._history.kill()

    @property
    def in_time(self) -> bool:
        return time.monotonic() < self._deadline

    def _set_users(self, users: int) -> None:
        """Within a second: the rate counts for those that leave, too."""
        self._runner.start(users, spawn_rate=max(users, self._runner.user_count, 100))

    def _measure(self, number: int, users: int) -> Step:
        self._set_users(users)
        gevent.sleep(SETTLE)
        self._window = window = Window()
        clock, cpu = time.monotonic(), time.process_time()
        gevent.sleep(self._hold)
        seconds, cpu = time.monotonic() - clock, time.process_time() - cpu
        times = sorted(window.times)
        failures = sum(window.faults.values())
        p95 = times[int(0.95 * (len(times) - 1))] if times else 0.0
        broke = ""
        if failures:
            text, count = max(window.faults.items(), key=lambda pair: pair[1])
            broke = f"{counted(count, 'error')}: {text}"
        elif not times:
            broke = "no answer came"
        elif p95 > self._bound:
            broke = f"95 % of the answers took up to {p95:.3g} ms"
            if cpu / seconds > BUSY:
                broke += "; the load generator itself had no time left"
        step = Step(
            search=number,
            users=users,
            requests=len(times) + failures,
            failures=failures,
            per_second=(len(times) + failures) / seconds,
            median=times[len(times) // 2] if times else 0.0,
            p95=p95,
            generator=cpu / seconds,
            broke=broke,
        )
        self.steps.append(step)
        print(
            f"  search {number}: {users:5,} users, {step.per_second:6,.0f} requests/s, "
            f"p95 {p95:5.0f} ms  {'broke: ' + broke if broke else 'held'}",
            flush=True,
        )
        return step


def main() -> int:
    """Two searches and their report in the folder; 1 and one clear line when nothing can be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bound", type=float, required=True, help="milliseconds that 95 %% of the answers may take"
    )
    parser.add_argument("--minutes", type=float, required=True, help="that both searches together may take")
    parser.add_argument("--hold", type=float, required=True, help="seconds that each step is measured")
    parser.add_argument("--most", type=int, required=True, help="users beyond which nothing is tried")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments = parser.parse_args()
    try:
        served = locustfile.learn()
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    environment = Environment(user_classes=[locustfile.LabUser], events=events, host=locustfile.URL)
    logging.getLogger("locust").setLevel(logging.ERROR)
    ladder = [users for users in LADDER if users <= arguments.most] or LADDER[:1]
    deadline = time.monotonic() + 60 * arguments.minutes
    search = Search(environment, ladder, arguments.bound, arguments.hold, deadline)
    held = []
    try:
        for number in (1, 2):
            held.append(search.run(number))
            gevent.sleep(SETTLE)
        in_time = search.in_time
    finally:
        search.stop()
    found = load_report.Finding(
        use_cases=[contract.use_case for contract in served],
        bound=arguments.bound,
        held=[ladder[rung] if rung >= 0 else 0 for rung in held],
        agree=abs(held[0] - held[1]) <= 1,
        top=ladder[-1],
        in_time=in_time,
        steps=[asdict(step) for step in search.steps],
    )
    page = get_html_report(environment, show_download_link=False)
    print(load_report.write(found, page, arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
