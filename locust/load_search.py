"""Searches for the number of users that the prediction API holds. `load_test.py` runs this file as a process.

The numbers of users that are tried are steps, each 25 % above the one before. A step fails when a request fails or
the answers are too slow. The search leaps upwards until a step fails, then bisects. It is done twice, because the
result of one search on a busy machine isn't reliable.
"""

import argparse
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

# Locust patches the socket module, so it must be imported before modules that use sockets.
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
# Indexes of LADDER: a search begins at FIRST; LEAP steps are about twice as many users.
FIRST, LEAP = 9, 3
# Seconds at the beginning of each step that are not measured.
SETTLE = 2.0
# Share of one core. Above it the load generator itself may be what makes the answers slow.
BUSY = 0.9


@dataclass(frozen=True)
class Step:
    """One measured step.

    median, p95: milliseconds. generator: CPU time of the load generator per second. broke: why the step failed; empty
    when the API held it.
    """

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
    """The answers of one measurement: response times in milliseconds, and the number of failures by error text."""

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
    """Runs Locust's users. bound: milliseconds. hold: seconds. deadline: a value of `time.monotonic`."""

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
        """The index in the ladder of the highest step that held, or -1. At the deadline the search ends early."""
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
        """Changes the number of users within a second. Locust applies the spawn rate to users that stop, too."""
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
            broke = "there was no answer"
        elif p95 > self._bound:
            broke = f"95 % of the answers took up to {p95:.3g} ms"
            if cpu / seconds > BUSY:
                broke += "; the load generator used a whole core and may be the reason"
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
            f"p95 {p95:5.0f} ms  {'failed: ' + broke if broke else 'held'}",
            flush=True,
        )
        return step


def main() -> int:
    """Runs two searches and writes their report. Exit status 1, with one line on stderr, when no model is served."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--bound", type=float, required=True, help="milliseconds that 95 %% of the answers may take"
    )
    parser.add_argument("--minutes", type=float, required=True, help="time limit of both searches together")
    parser.add_argument("--hold", type=float, required=True, help="seconds of measurement per step")
    parser.add_argument("--most", type=int, required=True, help="largest number of users to try")
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
