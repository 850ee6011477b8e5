"""What watches the booted stack: every query answers, and faults caused on purpose become alerts within two minutes."""

import json
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
import yaml

from tests.stack.stack import PATIENCE, REPOSITORY, eventually

pytestmark = [pytest.mark.alerts, pytest.mark.timeout(4 * PATIENCE)]

PROMPT = 120  # seconds in which a fault must be an alert
RULES = REPOSITORY / "observability" / "prometheus" / "rules"


def query(stack, expression: str) -> list[dict]:
    ready = expression.replace("$use_case", ".*").replace("$__rate_interval", "1m")
    reply = httpx.get(f"{stack.url('prometheus')}/api/v1/query", params={"query": ready}, timeout=30).json()
    assert reply["status"] == "success", f"{ready}: {reply}"
    return reply["data"]["result"]


def firing(stack) -> dict[str, dict]:
    alerts = httpx.get(f"{stack.url('alertmanager')}/api/v2/alerts", timeout=30).json()
    return {alert["labels"]["alertname"]: alert for alert in alerts if alert["status"]["state"] == "active"}


def at_rest(stack, name: str) -> bool:
    """Whether the alert neither fires nor waits to."""
    known = httpx.get(f"{stack.url('prometheus')}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
    return name not in firing(stack) and all(alert["labels"]["alertname"] != name for alert in known)


def becomes_an_alert(
    stack, name: str, record: Callable[[str, object], None], traffic: Callable[[], object] = lambda: None
) -> None:
    """Waits until Alertmanager has it, while the traffic that shows the fault goes on."""

    def fires() -> bool:
        traffic()
        return name in firing(stack)

    started = time.monotonic()
    eventually(fires, f"the alert {name}", PROMPT, pause=0.5)
    record(f"seconds until {name}", round(time.monotonic() - started))


def ask(stack, requests: int) -> list[str]:
    """Ten rows a request, all of one city; the ids of the last ten predictions."""
    some = random.Random(0)
    for _ in range(requests):
        rows = [
            stack.example | {"bed": some.randint(1, 5), "house_size": some.uniform(600, 4000)}
            for _ in range(10)
        ]
        reply = httpx.post(f"{stack.url('inference')}/predict/housing", json={"rows": rows}, timeout=30)
        assert reply.status_code == 200, reply.text
    return reply.json()["prediction_ids"]


@contextmanager
def no_training(stack) -> Iterator[None]:
    """Trainings wait meanwhile: each would make a champion of its own, which counts its drift anew."""
    airflow = stack.airflow()

    def still() -> bool:
        runs = [run["dag_run_id"] for run in airflow.runs("housing_training") if run["state"] == "running"]
        tasks = [task for run in runs for task in airflow.tasks("housing_training", run)]
        return all(task["state"] not in ("running", "queued") for task in tasks)

    airflow.pause("housing_training")  # begins no further task, not even of a run that is under way
    try:
        eventually(still, "the end of the tasks under way", pause=5)
        yield
    finally:
        airflow.unpause("housing_training")


@pytest.fixture(scope="module")
def traffic(stack):
    """Predictions as people send them, then such as nobody sent before; a wrong one; a true value; a monitoring run."""
    eventually(stack.champion, "a champion of housing", 2 * PATIENCE)
    odd = ask(stack, 60)
    wrong = stack.example | {"nonsense": 1}
    assert httpx.post(f"{stack.url('inference')}/predict/housing", json=wrong, timeout=30).status_code == 422
    for known in odd:
        feedback = {"use_case": "housing", "prediction_id": known, "actual": 250_000}
        assert httpx.post(f"{stack.url('inference')}/feedback", json=feedback, timeout=30).status_code == 202
    eventually(
        lambda: stack.sql(f"SELECT id FROM RawData.feedback WHERE prediction_id = '{odd[-1]}'"),
        "the logged feedback",
    )
    airflow = stack.airflow()
    airflow.wait_for_dag("monitoring", timeout=PATIENCE)
    airflow.unpause("monitoring")
    run = airflow.trigger("monitoring")
    eventually(
        lambda: any(r["dag_run_id"] == run and r["state"] == "success" for r in airflow.runs("monitoring")),
        "the monitoring run",
    )
    return odd


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
    done = subprocess.run(
        [*run, "test", "rules", "/lab/tests/alerts.yml"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_drift_is_an_alert_and_asks_for_a_training(stack, traffic, record_property):
    with no_training(stack):
        # Counts anew: the rows of `traffic` are drift enough for the alert.
        stack.compose("restart", "inference")
        eventually(stack.champion, "a champion after the restart")
        eventually(lambda: at_rest(stack, "InputDrift"), "the end of an earlier alert")
        # One city, and nothing else, is drift enough. It goes on, as people's requests would: a champion that was
        # promoted just before the pause may be loaded in between, and counts its drift anew.
        becomes_an_alert(stack, "InputDrift", record_property, lambda: ask(stack, 10))
    asked = "SELECT passed, mlflow_run FROM RawData.checks WHERE use_case = 'housing' AND retrain ORDER BY id LIMIT 1"
    [(passed, run)] = stack.sql(asked)
    assert passed
    assert stack.mlflow("GET", "runs/get", params={"run_id": run})["run"]["info"]["status"] == "FINISHED"
    airflow = stack.airflow()
    eventually(
        lambda: any(run["conf"].get("force") for run in airflow.runs("housing_training")),
        "the training asked for",
    )


def test_a_prediction_is_followed_to_its_payload_in_the_bucket(stack, traffic):
    said = stack.run_in("airflow-worker", "python", "-m", "mlops_lab.cli", "trace", traffic[0], "--json")
    found = json.loads(said)
    assert found["prediction"]["feedback"][0]["actual"] == 250_000
    assert all(batch["payload_bytes"] > 1000 for batch in found["batches"])
    assert found["batches"][0]["payload"].startswith("s3://api-artifacts/payloads/housing/")


def test_a_failed_run_and_a_stopped_service_are_alerts_and_end(stack, traffic, record_property):
    # A run that can't succeed: the Data API is away and the retries are soon over.
    airflow = stack.airflow()
    stack.compose("stop", "data-api")
    try:
        airflow.trigger("housing_training")
        eventually(
            lambda: any(run["state"] == "failed" for run in airflow.runs("housing_training")),
            "a run that failed",
        )
        becomes_an_alert(stack, "DagFailed", record_property)
    finally:
        stack.compose("start", "data-api")

    stack.compose("stop", "inference")
    try:
        becomes_an_alert(stack, "InferenceDown", record_property)
    finally:
        stack.compose("start", "inference")
    eventually(lambda: "InferenceDown" not in firing(stack), "the alert's end", 2 * PROMPT)
    eventually(stack.champion, "a champion after the restart")


def test_failing_replies_are_an_alert(stack, traffic, record_property):
    row = stack.example
    with no_training(stack):
        alias, version = {"name": "housing", "alias": "champion"}, stack.champion()
        stack.mlflow("DELETE", "registered-models/alias", json=alias)  # as somebody's hand in MLflow might
        try:
            eventually(lambda: stack.champion() is None, "the service without a champion")

            def ask_in_vain() -> None:
                reply = httpx.post(f"{stack.url('inference')}/predict/housing", json=row, timeout=30)
                assert reply.status_code == 503

            becomes_an_alert(stack, "InferenceErrors", record_property, ask_in_vain)
        finally:
            stack.mlflow("POST", "registered-models/alias", json=alias | {"version": str(version)})
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

    def none_is_empty() -> bool:
        ask(stack, 50)  # a new champion counts its drift anew
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


def test_no_series_is_named_by_a_caller(stack, traffic):
    def ask_for_nothing(times: int) -> int:
        for _ in range(times):
            httpx.post(f"{stack.url('inference')}/predict/{uuid.uuid4().hex}", json={}, timeout=30)
        time.sleep(20)  # until it was scraped
        return len(query(stack, '{job="inference"}'))

    first = ask_for_nothing(1)
    assert ask_for_nothing(50) <= first


def test_no_series_of_airflow_is_named_by_a_run_or_a_file(stack, traffic):
    reply = httpx.get(
        f"{stack.url('prometheus')}/api/v1/labels", params={"match[]": '{__name__=~"airflow_.+"}'}, timeout=30
    )
    known = {"__name__", "job", "instance", "le", "dag_id", "task_id", "state", "run_type", "queue"}
    assert set(reply.json()["data"]) <= known | {"pool_name", "executor_class_name", "alertname", "status"}
