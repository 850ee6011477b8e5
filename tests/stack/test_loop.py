"""The housing loop on the booted stack: from the Data API to the page, through Airflow on Celery."""

import json

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from mlops_lab.data.split import SHARES
from mlops_lab.settings import REPOSITORY
from tests.stack.figures import ORDER, steps
from tests.stack.stack import PATIENCE, eventually
from tests.support.pages import chromium

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]


def test_housing_reaches_a_champion_through_airflow_on_celery(stack, record_property):
    version = eventually(
        lambda: stack.champion(), "a champion of housing at the inference service", 2 * PATIENCE
    )
    record_property("first champion", version)
    airflow = stack.airflow()
    run = min(airflow.runs("housing_training"), key=lambda run: run["run_after"])["dag_run_id"]

    def done() -> bool:
        states = {task["task_id"]: task["state"] for task in airflow.tasks("housing_training", run)}
        assert "failed" not in states.values(), (states, airflow.fault("housing_training", run))
        return states["roll_out"] == states["finish"] == "success"

    eventually(done, "the first run's end")
    tasks = airflow.tasks("housing_training", run)
    workers = {container["Config"]["Hostname"] for container in stack.containers("airflow-worker")}
    assert {task["hostname"] for task in tasks if task["state"] == "success"} <= workers


def test_each_step_of_the_first_batch_has_its_seconds_and_nothing_was_killed(stack):
    first = [step for step in steps(stack) if step.batch == 1]
    assert {step.name for step in first} >= set(ORDER)
    recorded = [step for step in first if step.name not in ("land", "train")]
    # A step's own record is within its task.
    assert all(0 < step.work <= step.end - step.start for step in recorded if step.name in ORDER)
    states = [container["State"] for container in stack.containers()]
    assert not any(state["OOMKilled"] for state in states)


def test_rows_are_in_both_databases(stack):
    [(received, stored, clean)] = stack.sql(
        "SELECT received, `stored`, clean FROM RawData.batches WHERE use_case = 'housing' ORDER BY id LIMIT 1"
    )
    assert received > 100
    assert stored > 100
    assert clean > 100
    [(raw,)] = stack.sql("SELECT COUNT(*) FROM RawData.housing_raw")
    [(typed,)] = stack.sql("SELECT COUNT(*) FROM CleanData.housing_clean")
    assert raw >= stored
    assert typed >= clean
    splits = dict(stack.sql("SELECT split, COUNT(*) FROM CleanData.housing_clean GROUP BY split"))
    assert set(splits) == {split for split, _ in SHARES}


def test_mlflow_holds_runs_and_aliases(stack):
    found = stack.mlflow("GET", "registered-models/get", params={"name": "housing"})["registered_model"]
    aliases = {entry["alias"]: entry["version"] for entry in found["aliases"]}
    assert "champion" in aliases
    experiment = stack.mlflow("GET", "experiments/get-by-name", params={"experiment_name": "housing"})[
        "experiment"
    ]
    search = {"experiment_ids": [experiment["experiment_id"]], "max_results": 200}
    runs = stack.mlflow("POST", "runs/search", json=search)["runs"]
    kinds = [tag["value"] for run in runs for tag in run["data"]["tags"] if tag["key"] == "lab.kind"]
    assert "batch" in kinds
    assert kinds.count("candidate") >= 3


def test_objects_are_in_the_buckets(stack):
    store = stack.bucket()
    assert {bucket["Name"] for bucket in store.list_buckets()["Buckets"]} == {"mlflows3", "api-artifacts"}
    payloads = store.list_objects_v2(Bucket="api-artifacts")["Contents"]
    models = [entry["Key"] for entry in store.list_objects_v2(Bucket="mlflows3")["Contents"]]
    assert payloads
    assert any(key.endswith("model.onnx") for key in models)


def test_predictions_are_served_and_logged(stack):
    reply = stack.predict()
    assert reply["predictions"][0] > 0
    assert reply["model"]["name"] == "housing"
    [known] = reply["prediction_ids"]
    [(version,)] = eventually(
        lambda: stack.sql(f"SELECT version FROM RawData.predictions WHERE id = '{known}'"),
        "the logged prediction",
    )
    assert str(version) == str(reply["model"]["version"])
    bad = httpx.post(f"{stack.url('inference')}/predict/housing", json=stack.example | {"nonsense": 1})
    assert bad.status_code == 422


def test_the_prediction_log_may_only_be_added_to(stack):
    program = (
        "import pymysql, sys; from sqlalchemy.engine import make_url\n"
        "u = make_url(open('/secrets/lab_prediction_db_url').read())\n"
        "c = pymysql.connect(host=u.host, user=u.username, password=u.password, database=u.database).cursor()\n"
        "for q in sys.argv[1:]:\n"
        "    try: c.execute(q); print('done', q)\n"
        "    except pymysql.err.OperationalError as e: print('refused', e.args[0], q)\n"
    )
    queries = [
        "SELECT * FROM requests",
        "DELETE FROM predictions",
        "UPDATE predictions SET version = 1",
        "UPDATE feedback SET actual = 1",
        "SELECT * FROM housing_raw",
        "SELECT * FROM CleanData.housing_clean",
        "DROP TABLE predictions",
        "INSERT INTO models VALUES (1)",
        "UPDATE alert_notes SET why = ''",
        "DELETE FROM alert_notes",
    ]
    said = stack.run_in("inference", "python", "-c", program, *queries)
    assert said.count("refused") == len(queries), said
    # `GET /predictions` reads these two.
    allowed = ["SELECT id FROM predictions LIMIT 1", "SELECT id FROM feedback LIMIT 1"]
    said = stack.run_in("inference", "python", "-c", program, *allowed)
    assert said.count("done") == len(allowed), said


def test_the_page_predicts_in_a_browser(stack):
    found = chromium()
    if found is None:
        pytest.fail("no Chromium here: on Debian, apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(60_000)
        page.goto(f"{stack.url('streamlit')}/predict")
        page.get_by_role("button", name="Predict", exact=True).click(timeout=60_000)
        expect(page.get_by_test_id("stMetricValue").first).to_be_visible(timeout=60_000)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        browser.close()


def test_prometheus_reaches_every_target(stack):
    def all_up() -> list:
        targets = httpx.get(f"{stack.url('prometheus')}/api/v1/targets").json()["data"]["activeTargets"]
        down = [
            f"{target['scrapeUrl']}: {target['lastError']}" for target in targets if target["health"] != "up"
        ]
        assert not down, down
        return targets

    jobs = {target["labels"]["job"] for target in eventually(all_up, "all targets up")}
    assert {"prometheus", "alertmanager", "grafana", "inference", "data-api", "minio"} <= jobs
    reply = httpx.get(
        f"{stack.url('prometheus')}/api/v1/query", params={"query": "sum(inference_requests_total)"}
    )
    assert float(reply.json()["data"]["result"][0]["value"][1]) > 0


def test_grafana_shows_the_dashboards_of_the_repository(stack):
    with httpx.Client(base_url=stack.url("grafana"), auth=stack.login("Grafana")) as grafana:
        found = {entry["uid"] for entry in grafana.get("/api/search").json() if entry["type"] == "dash-db"}
        files = (REPOSITORY / "observability/grafana/dashboards").glob("*.json")
        assert {json.loads(file.read_text())["uid"] for file in files} <= found
        assert grafana.get("/api/datasources/uid/prometheus/health").json()["status"] == "OK"
