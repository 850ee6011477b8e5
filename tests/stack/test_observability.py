"""Monitoring of the booted stack: every query has data, and faults caused on purpose become alerts in two minutes.

The tests run in the order of this file. A use case that can't succeed is added first, so that its run fails
while the first champion is trained. Then trainings pause: a new champion would begin a new count of drift.
"""

import json
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
import yaml

from mlops_lab.settings import REPOSITORY
from tests.stack.stack import PATIENCE, eventually

pytestmark = [pytest.mark.alerts, pytest.mark.timeout(4 * PATIENCE)]

# Seconds in which a fault must be an alert.
PROMPT = 120
RULES = REPOSITORY / "observability" / "prometheus" / "rules"


def query(stack, expression: str) -> list[dict]:
    ready = expression.replace("$use_case", ".*").replace("$__rate_interval", "1m")
    reply = httpx.get(f"{stack.url('prometheus')}/api/v1/query", params={"query": ready}, timeout=30).json()
    assert reply["status"] == "success", f"{ready}: {reply}"
    return reply["data"]["result"]


def firing(stack, name: str, **labels: str) -> list[float]:
    """When each active alert of that name, and with these labels, began to fire, as Alertmanager has it."""
    wanted = {"alertname": name} | labels
    alerts = httpx.get(f"{stack.url('alertmanager')}/api/v2/alerts", timeout=30).json()
    active = (alert for alert in alerts if alert["status"]["state"] == "active")
    return [seconds(alert["startsAt"]) for alert in active if wanted.items() <= alert["labels"].items()]


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def becomes_an_alert(
    stack,
    name: str,
    since: float,
    record: Callable[[str, object], None],
    traffic: Callable[[], object] = lambda: None,
    **labels: str,
) -> None:
    """Waits until Alertmanager has the alert, while the traffic that shows the fault continues.

    since: when the fault began; the alert must have begun to fire at most `PROMPT` seconds later.
    """

    def fires() -> list[float]:
        traffic()
        return firing(stack, name, **labels)

    delay = min(eventually(fires, f"the alert {name}", PROMPT, pause=0.5)) - since
    assert 0 <= delay <= PROMPT, f"{name} fired {delay:.0f} s after its fault"
    record(f"seconds until {name}", round(delay))


def ask(stack, requests: int) -> dict[str, float]:
    """Ten rows per request, all of one city; the predictions by their id, in order."""
    some, found = random.Random(0), {}
    for _ in range(requests):
        rows = [
            stack.example | {"bed": some.randint(1, 5), "house_size": some.uniform(600, 4000)}
            for _ in range(10)
        ]
        reply = httpx.post(f"{stack.url('inference')}/predict/housing", json={"rows": rows}, timeout=30)
        assert reply.status_code == 200, reply.text
        found |= zip(reply.json()["prediction_ids"], reply.json()["predictions"], strict=True)
    return found


def monitor(stack) -> None:
    """One successful run of the monitoring DAG."""
    airflow = stack.airflow()
    run = airflow.trigger("monitoring")
    eventually(
        lambda: any(r["dag_run_id"] == run and r["state"] == "success" for r in airflow.runs("monitoring")),
        "the monitoring run",
    )


@pytest.fixture(scope="module", autouse=True)
def lost(stack, use_cases) -> Iterator[str]:
    """The DAG of a use case whose data set the Data API doesn't have. Its first run fails at once."""
    text = (REPOSITORY / "use_cases" / "housing.py").read_text()
    text = text.replace('name="housing"', 'name="lost"').replace('dataset="realtor"', 'dataset="lost"')
    file: Path = use_cases / "lost.py"
    file.write_text(text)
    yield "lost_training"
    file.unlink()


@pytest.fixture(scope="module")
def champion(stack) -> Iterator[int]:
    """The first champion; trainings pause from then on."""
    eventually(stack.champion, "a champion of housing", 2 * PATIENCE)
    stack.pause("housing_training")
    yield stack.champion()
    stack.airflow().unpause("housing_training")


@pytest.fixture(scope="module")
def traffic(stack, champion) -> tuple[float, list[str]]:
    """Sends drifted rows, a wrong row and feedback; monitoring runs twice. Returns the start and the prediction ids."""
    began = time.time()
    answers = ask(stack, 60)
    odd = list(answers)[-10:]
    wrong = stack.example | {"nonsense": 1}
    assert httpx.post(f"{stack.url('inference')}/predict/housing", json=wrong, timeout=30).status_code == 422
    # A version has a live score from 100 labelled predictions on.
    for known in list(answers)[-110:]:
        actual = 250_000 if known in odd else answers[known]
        feedback = {"use_case": "housing", "prediction_id": known, "actual": actual}
        assert httpx.post(f"{stack.url('inference')}/feedback", json=feedback, timeout=30).status_code == 202
    logged = f"SELECT id FROM RawData.feedback WHERE prediction_id = '{odd[-1]}'"
    eventually(lambda: stack.sql(logged), "the logged feedback")
    stack.airflow().wait_for_dag("monitoring", timeout=PATIENCE)
    stack.airflow().unpause("monitoring")
    monitor(stack)
    return began, odd


def test_the_rules_of_the_repository_are_loaded_and_healthy(stack):
    groups = httpx.get(f"{stack.url('prometheus')}/api/v1/rules", timeout=30).json()["data"]["groups"]
    loaded = {rule["name"] for group in groups for rule in group["rules"]}
    declared = {
        rule.get("alert") or rule["record"]
        for file in RULES.glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    }
    assert loaded == declared
    eventually(lambda: healthy(stack), "an evaluation of every rule")


def healthy(stack) -> bool:
    groups = httpx.get(f"{stack.url('prometheus')}/api/v1/rules", timeout=30).json()["data"]["groups"]
    bad = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]
    assert not bad, bad
    return True


def test_promtool_of_the_stacks_image_passes_the_rule_tests(stack):
    mount, image = f"{RULES.parent}:/lab:ro", stack.services["prometheus"]["image"]
    run = ["docker", "run", "--rm", "--network", "none", "--volume", mount, "--entrypoint", "promtool", image]
    tests = [f"/lab/tests/{file.name}" for file in sorted((RULES.parent / "tests").glob("*.yml"))]
    done = subprocess.run(
        [*run, "test", "rules", *tests], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_failed_run_is_an_alert(stack, lost, record_property):
    airflow = stack.airflow()
    failed = eventually(
        lambda: [run["end_date"] for run in airflow.runs(lost) if run["state"] == "failed"],
        "a run that failed",
    )
    becomes_an_alert(stack, "DagFailed", seconds(failed[-1]), record_property, dag_id=lost)


def test_drift_is_an_alert_and_requests_a_training(stack, traffic, record_property):
    # A champion that was promoted just before the pause may be loaded now and begin a new count: the traffic continues.
    becomes_an_alert(stack, "InputDrift", traffic[0], record_property, lambda: ask(stack, 10))
    asked = "SELECT passed, mlflow_run FROM RawData.checks WHERE use_case = 'housing' AND retrain ORDER BY id LIMIT 1"
    [(passed, run)] = stack.sql(asked)
    assert passed
    assert stack.mlflow("GET", "runs/get", params={"run_id": run})["run"]["info"]["status"] == "FINISHED"
    runs = stack.airflow().runs("housing_training")
    assert any(run["conf"].get("force") for run in runs), "no training was requested"


def test_a_prediction_is_followed_to_its_payload_in_the_bucket(stack, traffic):
    said = stack.lab("trace", traffic[1][0], "--json")
    found = json.loads(said)
    assert found["prediction"]["feedback"][0]["actual"] == 250_000
    assert all(batch["payload_bytes"] > 1000 for batch in found["batches"])
    assert found["batches"][0]["payload"].startswith("s3://api-artifacts/payloads/housing/")


def test_the_tables_on_mysql_are_those_of_this_release(stack, traffic):
    said = stack.lab("migrate")
    assert said.splitlines() == ["RawData: nothing to change"]


def test_a_stopped_service_is_an_alert_that_ends(stack, champion, record_property):
    began = time.time()
    stack.compose("stop", "inference")
    try:
        becomes_an_alert(stack, "InferenceDown", began, record_property)
    finally:
        stack.compose("start", "inference")
    eventually(lambda: not firing(stack, "InferenceDown"), "the alert's end", 2 * PROMPT)
    eventually(stack.champion, "a champion after the restart")


def test_failing_replies_are_an_alert(stack, champion, record_property):
    alias = {"name": "housing", "alias": "champion"}
    # The example row comes from the champion's contract.
    version, row = stack.champion(), stack.example
    # The hourly check would set the alias again, by the ledger.
    stack.pause("monitoring")
    # As somebody could do by hand in MLflow.
    stack.mlflow("DELETE", "registered-models/alias", json=alias)
    try:
        eventually(lambda: stack.champion() is None, "the service without a champion", pause=0.5)

        def ask_in_vain() -> None:
            reply = httpx.post(f"{stack.url('inference')}/predict/housing", json=row, timeout=30)
            assert reply.status_code == 503

        becomes_an_alert(stack, "InferenceErrors", time.time(), record_property, ask_in_vain)
    finally:
        stack.mlflow("POST", "registered-models/alias", json=alias | {"version": str(version)})
        stack.airflow().unpause("monitoring")
    eventually(lambda: stack.champion() == version, "the champion again")


def test_every_query_of_every_panel_has_data(stack, traffic):
    files = sorted((REPOSITORY / "observability" / "grafana" / "dashboards").glob("*.json"))
    wanted = [
        (file.stem, panel["title"], target["expr"])
        for file in files
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(wanted) > 50
    # A rate of runs needs a second run.
    monitor(stack)

    def none_is_empty() -> bool:
        # After its restart the service counted drift from zero.
        ask(stack, 50)
        empty = [one for one in wanted if not query(stack, one[2])]
        assert not empty, empty
        return True

    eventually(none_is_empty, "data in every panel", pause=5)


def test_every_rule_reads_series_that_exist(stack, traffic):
    rules = [
        rule
        for file in RULES.glob("*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]
    empty = [rule["record"] for rule in rules if "record" in rule and not lately(stack, rule["record"])]
    # An alert without a fault is empty, so what it looks at is asked for.
    empty += [name for rule in rules for name in read_by(stack, rule["expr"]) if not lately(stack, name)]
    assert not empty, empty


def lately(stack, name: str) -> bool:
    """Whether the series was there within this test's time; some, as a failed run's, are not always."""
    return bool(query(stack, f"last_over_time({name}[1h])"))


def read_by(stack, expression: str) -> set[str]:
    """Names of the series in an expression, as Prometheus itself parses it."""
    reply = httpx.get(
        f"{stack.url('prometheus')}/api/v1/parse_query", params={"query": expression}, timeout=30
    )
    parts, found = [reply.json()["data"]], set()
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            found |= {part["name"]} if part.get("type") in ("vectorSelector", "matrixSelector") else set()
            parts += part.values()
        elif isinstance(part, list):
            parts += part
    return found


def test_a_caller_cannot_add_series(stack, traffic):
    def series_after(requests: int) -> int:
        for _ in range(requests):
            httpx.post(f"{stack.url('inference')}/predict/{uuid.uuid4().hex}", json={}, timeout=30)
        asked = time.time()
        scraped = 'min(timestamp(up{job="inference"}))'
        eventually(lambda: float(query(stack, scraped)[0]["value"][1]) > asked, "a scrape", pause=1)
        return len(query(stack, '{job="inference"}'))

    first = series_after(1)
    assert series_after(50) <= first


def test_no_label_of_airflow_is_a_run_or_a_file(stack, traffic):
    reply = httpx.get(
        f"{stack.url('prometheus')}/api/v1/labels", params={"match[]": '{__name__=~"airflow_.+"}'}, timeout=30
    )
    known = {"__name__", "job", "instance", "le", "dag_id", "task_id", "state", "run_type", "queue"}
    assert set(reply.json()["data"]) <= known | {"pool_name", "executor_class_name", "alertname", "status"}
