"""What watches the booted stack: every query answers, and faults caused on purpose become alerts within two minutes."""

import json
import random
import subprocess
import time
import uuid

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


def becomes_an_alert(stack, name: str) -> float:
    """Seconds until Alertmanager has it."""
    started = time.monotonic()
    eventually(lambda: name in firing(stack), f"the alert {name}", PROMPT, pause=1)
    seconds = time.monotonic() - started
    print(f"{name}: {seconds:.0f} s after the fault")
    return seconds


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


def idle(stack) -> bool:
    """Whether no training runs nor waits."""
    return not any(run["state"] in ("running", "queued") for run in stack.airflow().runs("housing_training"))


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
    command = [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--volume",
        mount,
        "--entrypoint",
        "promtool",
        image,
    ]
    done = subprocess.run(
        [*command, "test", "rules", "/lab/tests/alerts.yml"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_drift_is_an_alert_and_asks_for_a_training(stack, traffic):
    # A new champion counts anew, so the data has to come to its end first.
    eventually(lambda: idle(stack), "the end of the trainings", 2 * PATIENCE, pause=5)
    ask(stack, 60)  # one city, and nothing else, is drift enough
    becomes_an_alert(stack, "InputDrift")
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


def test_a_failed_run_and_a_stopped_service_are_alerts_and_end(stack, traffic):
    # A run that can't succeed: the Data API is away and the retries are soon over.
    airflow = stack.airflow()
    stack.compose("stop", "data-api")
    airflow.trigger("housing_training")
    eventually(
        lambda: airflow.runs("housing_training")[0]["state"] == "failed",
        "the run that failed",
        PATIENCE,
        pause=2,
    )
    becomes_an_alert(stack, "DagFailed")
    stack.compose("start", "data-api")

    stack.compose("stop", "inference")
    becomes_an_alert(stack, "InferenceDown")
    stack.compose("start", "inference")
    eventually(lambda: "InferenceDown" not in firing(stack), "the alert's end", 2 * PROMPT)


def test_failing_replies_are_an_alert(stack, traffic):
    alias, version = {"name": "housing", "alias": "champion"}, stack.champion()
    stack.mlflow("DELETE", "registered-models/alias", json=alias)  # as somebody's hand in MLflow might
    try:
        eventually(lambda: stack.champion() is None, "the service without a champion")

        def fires() -> bool:
            reply = httpx.post(f"{stack.url('inference')}/predict/housing", json=stack.example, timeout=30)
            assert reply.status_code == 503
            return "InferenceErrors" in firing(stack)

        started = time.monotonic()
        eventually(fires, "the alert InferenceErrors", PROMPT, pause=0.5)
        print(f"InferenceErrors: {time.monotonic() - started:.0f} s after the fault")
    finally:
        stack.mlflow("POST", "registered-models/alias", json=alias | {"version": str(version)})
    eventually(lambda: stack.champion() == version, "the champion again")


def test_every_panel_and_rule_has_data(stack, traffic):
    stack.predict()
    files = sorted((REPOSITORY / "observability" / "grafana" / "dashboards").glob("*.json"))
    wanted = {
        f"{file.stem}: {panel['title']}": [target["expr"] for target in panel["targets"]]
        for file in files
        for panel in json.loads(file.read_text())["panels"]
        if panel["type"] != "row"
    }

    def none_is_empty() -> bool:
        stack.predict()
        empty = [name for name, queries in wanted.items() if not any(query(stack, q) for q in queries)]
        assert not empty, empty
        return True

    eventually(none_is_empty, "data in every panel", 2 * PATIENCE, pause=5)
    for file in RULES.glob("*.yml"):
        for group in yaml.safe_load(file.read_text())["groups"]:
            for rule in group["rules"]:
                query(stack, rule["expr"])


def test_no_series_is_named_by_a_caller(stack, traffic):
    def ask_for_nothing(times: int) -> int:
        for _ in range(times):
            httpx.post(f"{stack.url('inference')}/predict/{uuid.uuid4().hex}", json={}, timeout=30)
        time.sleep(20)  # until it was scraped
        return series(stack)

    first = ask_for_nothing(1)
    assert ask_for_nothing(50) <= first


def series(stack) -> int:
    return len(query(stack, '{job="inference"}'))
