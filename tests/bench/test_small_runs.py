"""Each bench of `make bench-scale` that starts its own processes runs to its table, at its smallest size."""

import subprocess
import sys

import pytest

from mlops_lab.settings import REPOSITORY

pytestmark = [pytest.mark.process, pytest.mark.journey]

# By part: what the table has, and options.
PARTS = {
    "growth": ("| train ridge |", ["--rows", "5000", "10000"]),
    "memory": ("| ridge |", []),
    "pages": ("| covertype |", ["--rounds", "1"]),
    "workers": ("| 2 |", []),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_bench_runs_to_its_table(part):
    said, options = PARTS[part]
    if part == "pages":
        pytest.importorskip("playwright")
    command = [sys.executable, str(REPOSITORY / "bench" / f"{part}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert said in done.stdout
    assert f"`make bench-scale PART={part} FULL=1`" in done.stdout
