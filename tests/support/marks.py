"""How tests are grouped, which are journeys, and a check of the mark `process`: without it a test starts no process."""

import os
import sys
from pathlib import Path

import pytest

# The longest groups come first, so that the workers end together. A group is a file, unless a test names another
# by `xdist_group`: tests that share services run one after another in one worker.
LONGEST = (
    "pages",
    "test_demo.py",
    "dags",
    "test_real_data.py",
    "notebooks",
    "test_lessons.py",
    "test_trials.py",
    "test_use_cases.py",
    "test_openapi.py",
    "test_steps.py",
    "test_kills.py",
    "test_mlflow_login.py",
    "test_routes.py",
    "test_cli.py",
    "test_prediction_log.py",
    "test_champions.py",
    "test_docs.py",
)
# Each of these marks implies `process`.
BOOT = ("alerts", "browser", "chaos", "cluster", "demo", "stack")
# Each of these marks and groups implies `journey`. A group is whole in one of `make test` and `make test-journeys`,
# so its services start once.
JOURNEYS = ("browser", "demo")
JOURNEY_GROUPS = ("pages", "dags", "notebooks")
# A test with one of these fixtures works on a lab's stores, and most of them train: a second or more each.
LAB = ("lab", "without_pictures")
# Small programs: MLflow calls git for the commit, kubectl renders manifests, joblib counts the cores by cat.
QUICK = (
    "cat",
    "gcc",
    "git",
    "kubectl",
    "kubernetes-validate",
    "kustomize",
    "ldconfig",
    "lscpu",
    "promtool",
    "sh",
    "uname",
)

_allowed = True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    def rank(item) -> int:
        group = item.get_closest_marker("xdist_group").args[0]
        return LONGEST.index(group) if group in LONGEST else len(LONGEST)

    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
        if any(item.get_closest_marker(name) for name in BOOT):
            item.add_marker(pytest.mark.process)
        if item.get_closest_marker("xdist_group").args[0] in JOURNEY_GROUPS or any(
            item.get_closest_marker(name) for name in JOURNEYS
        ):
            item.add_marker(pytest.mark.journey)
        if any(name in item.fixturenames for name in LAB):
            item.add_marker(pytest.mark.lab)
    items.sort(key=rank)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session):
    """Without groups each worker would boot its own services, and no test would fail."""
    if session.config.getoption("loadgroup", False) and session.items and "@" not in session.items[0].nodeid:
        pytest.exit("pytest-xdist doesn't group this pytest's tests; see pyproject.toml", returncode=4)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    global _allowed
    _allowed = item.get_closest_marker("process") is not None
    try:
        return (yield)
    finally:
        _allowed = True


def _refuse(event: str, arguments: tuple) -> None:
    if _allowed or event != "subprocess.Popen":
        return
    program = Path(os.fsdecode(arguments[0] or arguments[1][0])).name
    if program not in QUICK:
        raise RuntimeError(f"this test starts {program}: give it the mark `process`")


sys.addaudithook(_refuse)
