"""`make bench-scale PART=pages`: how soon a page shows what it knows, by the number of registered versions.

A real browser against the real services, warm: the pages take turns, and each was open once before. The history is that
of the pages' tests.
"""

import argparse
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright
from scale_page import report

from mlops_lab.local.processes import Process, Supervisor
from mlops_lab.model.mlflow_store import make_store
from tests.support import contracts, processes
from tests.support.history import CANDIDATES, History
from tests.support.pages import SIZE, chromium

# Batches of housing; each brings a version of every candidate.
SMALL, FULL = 3, 102
# Two times of one round, in milliseconds.
Times = tuple[float, float]
PAGES = ("loop", "predict", "models", "data", "live", "system")
FORMS = ("housing", "diabetes", "covertype")
# Milliseconds since a moment, as soon as the page is complete: its heading is there, and no script of it runs.
COMPLETE = """([heading, since]) => {
  const headed = [...document.querySelectorAll('h1')].some(one => one.innerText.trim() === heading);
  const runs = document.querySelector('[data-test-script-state="running"], [data-stale="true"]');
  return headed && !runs && window.ran !== false && performance.now() - since;
}"""
# The moment before an input; from then on the page notes that a script of it has run, and when its answer last changed.
BEGIN = """() => {
  window.ran = false;
  const look = () => { window.ran ||= !!document.querySelector('[data-test-script-state="running"]'); };
  const options = {subtree: true, attributes: true, attributeFilter: ['data-test-script-state']};
  new MutationObserver(look).observe(document.body, options);
  const answer = document.querySelector('[data-testid="stMetric"]').closest('[data-testid="stColumn"]');
  const all = {subtree: true, attributes: true, childList: true, characterData: true};
  new MutationObserver(() => { window.changed = performance.now(); }).observe(answer, all);
  return performance.now();
}"""
# Milliseconds of a moment until the answer with its charts last changed.
ANSWERED = "since => window.changed - since"
# Milliseconds in which a chart is drawn after the script has ended.
DRAWN = 1000
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="over 300 versions; writes docs/scale.md")
    parser.add_argument("--rounds", type=int, default=7, help="of which the medians are taken")
    chosen = parser.parse_args()
    batches = FULL if chosen.full else SMALL
    with tempfile.TemporaryDirectory() as folder, _pages(Path(folder), batches) as address, _tab() as tab:
        opened, redrawn = _measure(tab, address, chosen.rounds)
    versions = batches * len(CANDIDATES)
    report("pages", lines(versions, opened, redrawn), full=chosen.full)


def lines(versions: int, opened: dict[str, list[Times]], redrawn: dict[str, list[Times]]) -> list[str]:
    """The tables. opened: page → (first paint, complete) of each round; redrawn: use case → (answer, complete)."""
    return [
        f"Milliseconds, median of {len(opened['loop'])} rounds and the longest, with {versions} versions of housing.",
        "",
        *_table("page", "first paint", {page.capitalize(): found for page, found in opened.items()}),
        "",
        *_table("a changed field on Predict", "value and explanation", redrawn),
    ]


def _table(what: str, first: str, found: dict[str, list[Times]]) -> list[str]:
    said = [f"| {what} | {first} | the longest | complete | the longest |", "|---|--:|--:|--:|--:|"]
    for name, rounds in found.items():
        cells = [f"{of(times):,.0f}" for times in zip(*rounds, strict=True) for of in (median, max)]
        said.append(f"| {name} | {' | '.join(cells)} |")
    return said


def _measure(tab: Page, address: str, rounds: int) -> tuple[dict[str, list[Times]], dict[str, list[Times]]]:
    opened: dict[str, list[Times]] = defaultdict(list)
    redrawn: dict[str, list[Times]] = defaultdict(list)
    for number in range(rounds + 1):
        for page in PAGES:
            found = _open(tab, address, page, "housing")
            if number:
                opened[page].append(found)
        for use_case in FORMS:
            _open(tab, address, "predict", use_case)
            found_ = _change(tab)
            if number:
                redrawn[use_case].append(found_)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return opened, redrawn


def _open(tab: Page, address: str, page: str, use_case: str) -> Times:
    """(first paint, complete)."""
    place = "" if page == "loop" else page
    tab.goto(f"{address}/{place}?use_case={use_case}", wait_until="commit")
    complete = _complete(tab, page, 0)
    return tab.evaluate(FIRST_PAINT), complete


def _change(tab: Page) -> Times:
    """Changes the first number of the form, as a person does: (value and explanation, the whole page)."""
    tab.get_by_test_id("stMetric").wait_for()
    box = tab.get_by_test_id("stNumberInput").locator("input").first
    old = float(box.input_value() or 0)
    # Within most bounds.
    box.fill(f"{old + 1:g}" if old < 3 else f"{old - 2:g}")
    since = tab.evaluate(BEGIN)
    box.press("Tab")
    complete = _complete(tab, "predict", since)
    tab.wait_for_timeout(DRAWN)
    return tab.evaluate(ANSWERED, since), complete


def _complete(tab: Page, page: str, since: float) -> float:
    return tab.wait_for_function(COMPLETE, arg=[page.capitalize(), since], polling="raf").json_value()


@contextmanager
def _pages(folder: Path, batches: int) -> Iterator[str]:
    """The address of pages that run against the services of a lab with a history."""
    home = folder / "home"
    home.mkdir()
    make_store(f"sqlite:///{home}/mlflow.db")
    past = History.at(home)
    recorded: list[tuple[Callable, int]] = [
        (contracts.housing, batches),
        (contracts.diabetes, 1),
        (contracts.covertype, 1),
    ]
    for contract, number in recorded:
        past.record(contract(), batches=number)
    with Supervisor(folder / "logs", processes.environment()) as supervisor:

        def started(process: Process) -> str:
            return processes.started(supervisor, process).url

        api = started(processes.inference("inference", home))
        mlflow = started(processes.mlflow(folder, past.registry.tracking_uri))
        yield started(processes.streamlit("streamlit", folder, api, mlflow))


@contextmanager
def _tab() -> Iterator[Page]:
    if (found := chromium()) is None:
        raise SystemExit("there is no Chromium; `make browser` installs it on Debian")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE)
        tab.set_default_timeout(processes.PATIENCE * 1000)
        yield tab
        browser.close()


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main()
