"""`make bench-scale PART=memory`: what a training has in memory, by the rows that are stored and by the history policy.

Each training is a process of its own with the housing market's snapshots, which one lab has prepared before.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib import import_module
from typing import Any

from memory_peak import memory, reset_peak
from scale_page import report

from datos.synthetic.market import FULL_SIZES
from mlops_lab import HistoryPolicy
from mlops_lab.lab import Lab
from mlops_lab.local.embedded import data_api
from mlops_lab.model.train import learn
from mlops_lab.model.training_rows import training_rows
from mlops_lab.settings import REPOSITORY, Settings
from mlops_lab.steps.ingest import land, prepare, validate

SIZES = {False: [6_000], True: [100_000, 300_000, 895_512]}
# What a training imports on its way.
LIBRARIES = (
    "lightgbm",
    "onnxruntime",
    "skl2onnx",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
)
# Rows that a bounded training reads.
BOUND = {False: 2_000, True: 50_000}
CANDIDATES = {False: ["ridge"], True: ["linear_regression", "ridge", "random_forest", "gradient_boosting"]}


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the course's size; writes docs/scale.md")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        candidate, policy = chosen.one
        print(
            json.dumps(
                _learn(candidate, HistoryPolicy.model_validate_json(policy)) if candidate else stored()
            )
        )
        return
    bound = BOUND[chosen.full]
    policies = [HistoryPolicy(), HistoryPolicy(rows=bound), HistoryPolicy(rows=bound, choose="sample")]
    found = []
    for rows in SIZES[chosen.full]:
        with tempfile.TemporaryDirectory() as home:
            there = _one(home, rows, "", HistoryPolicy())["stored"]
            for policy in policies:
                for candidate in CANDIDATES[chosen.full]:
                    print(f"{rows:,} rows, {policy}, {candidate}", file=sys.stderr, flush=True)
                    found.append((rows, there, policy, candidate, _one(home, rows, candidate, policy)))
    report("memory", lines(found), full=chosen.full)


def lines(found: list[tuple[int, int, HistoryPolicy, str, dict[str, float]]]) -> list[str]:
    """The table."""
    said = [
        "MiB of a process that trains one candidate: `before`, with all libraries and no row; `reading`, its peak "
        "until the rows are encoded; `learning`, its peak after that, when the frame is gone. CPU seconds of both.",
        "",
        "| rows as served | stored | a training reads | candidate | before | reading | learning | CPU, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for rows, stored, policy, candidate, one in found:
        sizes = " | ".join(f"{one[name]:,.0f}" for name in ("before", "reading", "learning"))
        said.append(f"| {rows:,} | {stored:,} | {policy} | {candidate} | {sizes} | {one['cpu']:.1f} |")
    return said


def _one(home: str, rows: int, candidate: str, policy: HistoryPolicy) -> dict[str, Any]:
    return process(__file__, home, rows, candidate, policy.model_dump_json())


def process(file: str, home: str, rows: int, *arguments: str) -> dict[str, Any]:
    """What `file --one ARGUMENTS` prints as a new process with a lab of so many rows."""
    settings = {
        "LAB_HOME": home,
        "LAB_USE_CASES": str(REPOSITORY / "use_cases"),
        "LAB_DATOS_SCALE": str(rows / sum(FULL_SIZES)),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    command = [sys.executable, file, "--one", *arguments]
    done = subprocess.run(command, env=environment | settings, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def stored() -> dict[str, Any]:
    """Lands and prepares all batches of the market; the number of rows that can be learnt from."""
    with data_api(Settings(), lambda _: None) as settings:
        lab = Lab(settings, lambda _: None)
        use_case = lab.use_case("housing")
        for _ in FULL_SIZES:
            batch = land(lab, use_case)
            validate(lab, use_case, batch.id)
            prepare(lab, use_case, batch.id)
            lab.ledger.note(batch.id, state="done")
    return {"stored": len(lab.snapshots.read(use_case, columns=["split"]))}


def _learn(name: str, policy: HistoryPolicy) -> dict[str, float]:
    """Reads, encodes and learns."""
    for library in LIBRARIES:
        import_module(library)
    lab = Lab(Settings(), lambda _: None)
    use_case = replace(lab.use_case("housing"), history=policy)
    candidate = next(one for one in use_case.candidates if one.name == name)
    before, cpu = reset_peak(), sum(os.times()[:2])
    rows = training_rows(lab.snapshots, use_case)
    reading = memory("VmHWM")
    reset_peak()
    learn(use_case, candidate, rows.encoded)
    return {
        "before": before,
        "reading": reading,
        "learning": memory("VmHWM"),
        "cpu": sum(os.times()[:2]) - cpu,
    }


if __name__ == "__main__":
    main()
