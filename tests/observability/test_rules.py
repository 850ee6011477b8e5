"""Rules, their tests and the runbooks agree; `promtool` runs the rule tests where it is installed."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mlops_lab.contract import RetrainPolicy
from mlops_lab.settings import REPOSITORY
from observability.bounds import OBJECTIVE, bounds, in_words

FOLDER = REPOSITORY / "observability" / "prometheus"
PROMTOOL = shutil.which("promtool")
RULES = [
    rule
    for file in sorted((FOLDER / "rules").glob("*.yml"))
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


def cases() -> dict[str, set[bool]]:
    """Alert → whether it has a case that fires (True), and one that doesn't (False)."""
    found: dict[str, set[bool]] = {name: set() for name in ALERTS}
    files = [yaml.safe_load(file.read_text()) for file in (FOLDER / "tests").glob("*.yml")]
    for case in (case for file in files for case in file["tests"]):
        for test in case["promql_expr_test"]:
            found[re.search(r'alertname="(\w+)"', test["expr"])[1]].add(bool(test.get("exp_samples")))
    return found


def test_each_alert_has_a_case_that_fires_and_one_that_does_not():
    assert {name: found for name, found in cases().items() if found != {True, False}} == {}


def test_each_alert_has_texts_and_a_link_to_its_runbook():
    text = (REPOSITORY / "docs" / "runbooks.md").read_text()
    sections = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in (("none",) if name == "Watchdog" else ("page", "ticket"))
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith(f"/runbooks?alert={name}")
        body = section(name)
        assert name == "InferenceSlowBurn" or ("- Look:" in body and "- Do:" in body), name


def section(alert: str) -> str:
    text = (REPOSITORY / "docs" / "runbooks.md").read_text()
    return text.partition(f"## {alert}\n")[2].partition("\n## ")[0]


def test_alerts_that_compare_with_a_number_have_a_bound_and_drift_has_that_of_the_use_case():
    assert {"InferenceErrors", "InferenceSlow", "QuarantineShare", "PipelineStuck", "DiskFilling"} < set(
        bounds()
    )
    assert "InputDrift" not in bounds()
    assert ALERTS["InputDrift"]["expr"].endswith("use_case:feature_drift_bound:min")


@pytest.mark.parametrize(("name", "bound"), bounds().items())
def test_each_runbook_shows_the_bound_of_its_alert(name, bound):
    seconds = name in (OBJECTIVE, "PipelineStuck")
    alert = "InferenceSlow" if name == OBJECTIVE else name
    assert in_words(bound, "s" if seconds else "percentunit") in section(alert)


def test_the_runbook_shows_the_bound_of_the_live_error():
    assert in_words(RetrainPolicy().live_error, "percentunit") in section("MonitoringBoundPassed")


def test_no_annotation_repeats_a_bound():
    for name, rule in ALERTS.items():
        shown = re.findall(r"\d+(?:\.\d+)? (?:%|s|hours)\b", " ".join(rule["annotations"].values()))
        assert not shown, f"{name}: the expression has the bound; {shown} would be a second place"


def test_ratios_that_alerts_use_are_the_recorded_ones():
    used = {name for rule in RULES for name in re.findall(r"\b\w+:\w+:\w+\b", rule["expr"])}
    assert used <= RECORDED


def test_the_mapping_drops_whatever_it_does_not_name():
    mapping = yaml.safe_load((REPOSITORY / "observability" / "statsd" / "mapping.yml").read_text())[
        "mappings"
    ]
    assert mapping[-1]["action"] == "drop"
    names = {entry["name"] for entry in mapping}
    used = {name for rule in RULES for name in re.findall(r"(?<![\w:])airflow_\w+", rule["expr"])}
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in used} <= names


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here; the stack test runs it in Prometheus' image")
@pytest.mark.parametrize("command", [("check", "rules", "rules/*.yml"), ("test", "rules", "tests/*.yml")])
def test_promtool(command):
    *verb, pattern = command
    files = sorted(str(path.relative_to(FOLDER)) for path in Path(FOLDER).glob(pattern))
    done = subprocess.run(
        [PROMTOOL, *verb, *files], cwd=FOLDER, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
