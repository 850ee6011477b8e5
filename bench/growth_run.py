"""Runs the loop on the housing market once, in this process, and prints what each step took as JSON.

`python growth_run.py ROWS FOLDER`: so many rows in all batches; the lab's home is a new folder in FOLDER.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from memory_peak import memory, reset_peak

from datos.synthetic.market import FULL_SIZES
from mlops_lab import loop
from mlops_lab.lab import Lab
from mlops_lab.local.embedded import data_api
from mlops_lab.settings import REPOSITORY, Settings

STEPS = ("land", "validate", "prepare", "decide", "train", "promote", "roll_out", "finish")


def main() -> None:
    """Runs and prints."""
    rows, folder = int(sys.argv[1]), sys.argv[2]
    for name in [name for name in os.environ if name.startswith("LAB_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(dir=folder) as home:
        os.environ |= {
            "LAB_HOME": home,
            "LAB_USE_CASES": str(REPOSITORY / "use_cases"),
            "LAB_DATOS_SCALE": str(rows / sum(FULL_SIZES)),
        }
        calls: list[dict[str, Any]] = []
        for name in STEPS:
            setattr(loop, name, _measured(getattr(loop, name), calls))
        with data_api(Settings(), lambda _: None) as settings:
            lab = Lab(settings, lambda line: print(line, file=sys.stderr, flush=True))
            use_case = lab.use_case("housing")
            loop.run_loop(lab, use_case)
            stored = sum(batch.received or 0 for batch in lab.ledger.batches(use_case.name))
    print(json.dumps({"rows": stored, "calls": calls}))


def _measured(step: Callable[..., Any], calls: list[dict[str, Any]]) -> Callable[..., Any]:
    """The step, which notes its name, its seconds, those of the CPU, and the MiB that it added at its peak."""

    @wraps(step)
    def run(*given: Any) -> Any:
        before = reset_peak()
        started, cpu = time.perf_counter(), _cpu()
        try:
            return step(*given)
        finally:
            name = step.__name__.replace("_", " ")
            if name == "train":
                name = f"train {given[3]}"
            calls.append(
                {
                    "step": name,
                    "seconds": time.perf_counter() - started,
                    "cpu": _cpu() - cpu,
                    "before": before,
                    "added": memory("VmHWM") - before,
                }
            )

    return run


def _cpu() -> float:
    """Seconds of CPU of this process and of those that it started and that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
