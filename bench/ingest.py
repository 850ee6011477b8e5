"""`make bench-scale PART=ingest`: what a row costs from the payload to CleanData, at two sizes of a batch.

Each measurement is a process of its own with a new lab, SQLite and a folder as bucket. A batch of a few rows goes
first, so that what is loaded and made only once isn't counted.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import chain, islice
from pathlib import Path

import orjson
from scale_page import report

from datos.synthetic.market import FULL_SIZES, Market

SMALL, FULL = (10_000, 50_000), (100_000, 1_000_000)
ROUNDS = 3
STEPS = ("land", "validate", "prepare")
FIRST = 200


def main() -> None:
    """Measures and reports, or is one measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help=f"batches of {FULL[0]:,} and {FULL[1]:,} rows")
    parser.add_argument("--rows", type=int, nargs="+", help="batches of so many rows instead")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(_one(chosen.one)))
        return
    sizes = chosen.rows or (FULL if chosen.full else SMALL)
    costs: dict[int, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            _write(Path(folder) / f"{rows}.json", rows)
        for number in range(ROUNDS):
            for rows in sizes:
                words = [sys.executable, __file__, "--one", f"{folder}/{rows}.json"]
                done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
                costs[rows].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"round {number + 1} of {ROUNDS}", flush=True)
    report("ingest", list(_table(costs)), full=chosen.full)


def _table(costs: dict[int, list[dict[str, float]]]):
    yield (
        "One batch of the synthetic market, 12 columns, as SQLite and a folder take it: µs of CPU a row in each step, "
        f"median of {ROUNDS} rounds in turns; and the most memory that the process had beyond what it had after a "
        f"batch of {FIRST} rows."
    )
    yield ""
    yield f"| rows | {' | '.join(STEPS)} | together | wall | payload, MB | memory, MiB |"
    yield "|---|" + "---|" * (len(STEPS) + 4)
    for rows, found in costs.items():
        each = {name: statistics.median(one[name] for one in found) for name in found[0]}
        steps = [each[step] / rows * 1e6 for step in STEPS]
        yield (
            f"| {rows:,} | {' | '.join(f'{step:.1f}' for step in steps)} | {sum(steps):.1f} "
            f"| {each['wall'] / rows * 1e6:.1f} | {each['megabytes']:.1f} | {each['mebibytes']:,.0f} |"
        )


def _write(path: Path, rows: int) -> None:
    """A payload as the lab's Data API sends it."""
    market = Market(scale=max(0.01, 1.05 * rows / sum(FULL_SIZES)))
    every = chain.from_iterable(map(market.read, range(1, len(market.sizes) + 1)))
    reply = {"group_number": 1, "columns": list(market.columns)}
    data = list(islice(every, rows))
    path.write_bytes(orjson.dumps(reply | {"batch_number": 2, "data": data}))
    path.with_suffix(".few").write_bytes(orjson.dumps(reply | {"batch_number": 1, "data": data[:FIRST]}))


def _one(path: Path) -> dict[str, float]:
    from mlops_lab.lab import Lab
    from mlops_lab.settings import REPOSITORY, Settings
    from mlops_lab.steps import ingest

    with tempfile.TemporaryDirectory() as home:
        settings = Settings(
            home=Path(home), use_cases=REPOSITORY / "use_cases", data_api_url="http://127.0.0.1:9"
        )
        lab = Lab(settings, progress=lambda line: print(line, file=sys.stderr))
        use_case = lab.use_case("housing")
        _batch(ingest, lab, use_case, path.with_suffix(".few"))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall = time.perf_counter()
        found = _batch(ingest, lab, use_case, path)
        found["wall"] = time.perf_counter() - wall
        found["mebibytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        found["megabytes"] = path.stat().st_size / 1e6
    return found


def _batch(ingest, lab, use_case, reply: Path) -> dict[str, float]:
    """Seconds of CPU of each step, from a reply that has arrived to a batch that is prepared."""
    with lab.incoming.slot(use_case.name) as slot:
        shutil.copy(reply, slot.reply)
    found = {}
    begun = time.process_time()
    batch = ingest.land(lab, use_case)
    for step in STEPS:
        if step != "land":
            getattr(ingest, step)(lab, use_case, batch.id)
        found[step], begun = time.process_time() - begun, time.process_time()
    lab.ledger.note(batch.id, state="done")
    return found


if __name__ == "__main__":
    main()
