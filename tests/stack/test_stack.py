"""The compose file, booted: the housing loop through Airflow on Celery, and what the stack promises.

The tests run in this order on one stack: what comes later uses what came before.
"""

import json
import re
import shutil
import socket
from datetime import UTC, datetime

import boto3
import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from mlops_lab.local.airflow_client import AirflowError
from tests.stack.stack import PATIENCE, REPOSITORY, eventually

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]

ONE_SHOTS = {"secrets-init", "postgres-init", "mysql-init", "minio-init", "airflow-init"}
GIB = 1024


def test_boots_healthy(stack, record_property):
    states = {}
    for container in stack.containers():
        name, state = container["Config"]["Labels"]["com.docker.compose.service"], container["State"]
        states[name] = f"exited {state['ExitCode']}" if name in ONE_SHOTS else state["Health"]["Status"]
    assert states == {name: "exited 0" if name in ONE_SHOTS else "healthy" for name in stack.services}
    record_property("seconds until healthy", round(stack.boot_seconds))


def test_every_service_is_hardened(stack):
    for container in stack.containers():
        name, config, host = container["Name"], container["Config"], container["HostConfig"]
        assert re.fullmatch(r"[1-9]\d*:\d+", config["User"]), f"{name} runs as {config['User'] or 'root'}"
        assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["ReadonlyRootfs"], name
        assert host["Memory"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert re.search(r":(?!latest$)[^/:]+$", config["Image"]), config["Image"]


def test_listens_on_loopback_alone(stack):
    bound = [
        (container["Name"], binding)
        for container in stack.containers()
        for bindings in container["HostConfig"]["PortBindings"].values()
        for binding in bindings or []
    ]
    by_profile = {stack.ports[name] for name in ("gradio", "notebooks", "locust")}
    assert {int(binding["HostPort"]) for _, binding in bound} == set(stack.ports.values()) - by_profile
    assert {binding["HostIp"] for _, binding in bound} == {"127.0.0.1"}


def test_each_secret_is_mounted_in_its_reader_alone(stack):
    readers: dict[str, set[str]] = {}
    for container in stack.containers():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        for mount in container["Mounts"]:
            assert mount["Type"] == "bind" or mount["Name"].startswith(stack.project), (
                f"{service}: anonymous volume"
            )
            volume = mount.get("Name", "").removeprefix(f"{stack.project}_")
            if volume.startswith("secrets-") and service != "secrets-init":
                assert (mount["Destination"], mount["RW"]) == ("/secrets", False), container["Name"]
                readers.setdefault(volume, set()).add(service)
    assert readers
    assert readers == {f"secrets-{next(iter(names))}": names for names in readers.values()}
    environments = json.dumps([container["Config"]["Env"] for container in stack.containers()])
    for _, password in stack.logins().values():
        assert len(password) == 32
        assert password not in environments


def test_no_default_login_opens_anything(stack):
    grafana, minio = stack.url("grafana"), stack.url("minio")
    assert httpx.get(f"{grafana}/api/search", auth=("admin", "admin")).status_code == 401
    assert httpx.get(f"{grafana}/api/search", auth=stack.logins()["Grafana"]).status_code == 200
    for password in ("admin", "airflow", ""):
        reply = httpx.post(
            f"{stack.url('airflow')}/auth/token", json={"username": "admin", "password": password}
        )
        assert reply.status_code >= 400
    store = boto3.client(
        "s3", endpoint_url=minio, aws_access_key_id="minioadmin", aws_secret_access_key="minioadmin"
    )
    with pytest.raises(store.exceptions.ClientError, match="InvalidAccessKeyId"):
        store.list_buckets()
    assert httpx.post(f"{stack.url('inference')}/reload").status_code in (401, 403)


def test_the_page_cannot_reach_the_databases(stack):
    addresses = {
        f"{service}:{port}": address["IPAddress"]
        for service, port in (
            ("postgres", 5432),
            ("redis", 6379),
            ("mysql", 3306),
            ("minio", 9000),
            ("data-api", 8081),
        )
        for address in stack.containers(service)[0]["NetworkSettings"]["Networks"].values()
    }
    program = (
        "import socket, sys\n"
        "for target in sys.argv[1:]:\n"
        "    host, port = target.split(':')\n"
        "    try: socket.create_connection((host, int(port)), 2).close(); print('open', target)\n"
        "    except OSError: print('shut', target)\n"
    )
    targets = [f"{address}:{name.split(':')[1]}" for name, address in addresses.items()]
    said = stack.run_in(
        "streamlit", "python", "-c", program, *targets, *addresses, "mlflow:5000", "inference:8085"
    )
    assert said.count("shut") == len(targets) + len(addresses), said
    assert "open mlflow:5000" in said
    assert "open inference:8085" in said


def test_idles_within_its_memory(stack, record_property):
    used = stack.memory()
    record_property("idle MiB", {name: round(size) for name, size in sorted(used.items())})
    record_property("idle MiB in all", round(sum(used.values())))
    assert sum(used.values()) <= 4.5 * GIB


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
    assert set(splits) == {"train", "validation", "test"}


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
    user, password = stack.logins()["MinIO"]
    store = boto3.client(
        "s3", endpoint_url=stack.url("minio"), aws_access_key_id=user, aws_secret_access_key=password
    )
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
        "SELECT * FROM predictions",
        "DELETE FROM predictions",
        "UPDATE feedback SET actual = 1",
        "SELECT * FROM housing_raw",
        "SELECT * FROM CleanData.housing_clean",
        "DROP TABLE predictions",
        "INSERT INTO models VALUES (1)",
    ]
    said = stack.run_in("inference", "python", "-c", program, *queries)
    assert said.count("refused") == len(queries), said


def test_the_page_predicts_in_a_browser(stack):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.fail("no Chromium here: on Debian, apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1600})
        page.set_default_timeout(60_000)
        page.goto(stack.url("streamlit"))
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
    with httpx.Client(base_url=stack.url("grafana"), auth=stack.logins()["Grafana"]) as grafana:
        found = {entry["uid"] for entry in grafana.get("/api/search").json() if entry["type"] == "dash-db"}
        files = (REPOSITORY / "observability/grafana/dashboards").glob("*.json")
        assert {json.loads(file.read_text())["uid"] for file in files} <= found
        assert grafana.get("/api/datasources/uid/prometheus/health").json()["status"] == "OK"


def test_a_second_up_changes_nothing(stack):
    before = {container["Name"]: container["State"]["StartedAt"] for container in stack.containers()}
    logins = stack.logins()
    stack.up()
    after = {container["Name"]: container["State"]["StartedAt"] for container in stack.containers()}
    kept = {name for name in before if not any(f"-{one_shot}-" in name for one_shot in ONE_SHOTS)}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert stack.logins() == logins


def test_the_workers_health_is_that_it_consumes(stack):
    def health() -> str:
        return stack.containers("airflow-worker")[0]["State"]["Health"]["Status"]

    stack.compose("stop", "redis")
    eventually(lambda: health() == "unhealthy", "the worker's health without Redis")
    stack.compose("start", "redis")
    eventually(lambda: health() == "healthy", "the worker's health with Redis again")


def test_three_workers_work_on_a_use_case_added_while_the_stack_runs(stack, use_cases):
    stack.up("--no-recreate", "--scale", "airflow-worker=3")
    shutil.copy(REPOSITORY / "use_cases" / "covertype.py", use_cases)
    airflow, known = stack.airflow(), "covertype_training"
    airflow.wait_for_dag(known, timeout=PATIENCE)
    workers = {container["Config"]["Hostname"] for container in stack.containers("airflow-worker")}
    assert len(workers) == 3

    def all_worked() -> bool:
        tasks = [task for run in airflow.runs(known) for task in airflow.tasks(known, run["dag_run_id"])]
        return workers <= {task["hostname"] for task in tasks if task["state"] == "success"}

    eventually(all_worked, "a finished task on each of the three workers", 2 * PATIENCE, pause=5)
    eventually(lambda: stack.champion("covertype"), "the new use case's champion", 2 * PATIENCE, pause=5)
    airflow.pause(known)
    stack.up("--scale", "airflow-worker=1")


def test_every_profile_starts(stack):
    profiles = stack.compose("config", "--profiles").split()
    for profile in profiles:
        stack.compose("--profile", profile, "up", "--detach", "--wait", "--wait-timeout", str(int(PATIENCE)))


def test_down_and_up_keep_everything(stack, record_property):
    champion, [(rows,)] = stack.champion(), stack.sql("SELECT COUNT(*) FROM CleanData.housing_clean")
    answer, logins = stack.predict()["predictions"], stack.logins()
    stack.down()
    assert not stack.containers()
    record_property("seconds until healthy again", round(stack.up()))
    eventually(lambda: stack.champion() is not None, "a champion after the restart")
    assert stack.champion() >= champion
    if stack.champion() == champion:
        assert stack.predict()["predictions"] == answer
    assert stack.sql("SELECT COUNT(*) FROM CleanData.housing_clean")[0][0] >= rows
    assert stack.logins() == logins


def test_rotated_secrets_reach_every_service(stack):
    before = stack.logins()
    stack.up("notebooks")  # by its profile; Gradio and Locust stay away
    stack.make("rotate-secrets")
    after = stack.logins()
    assert all(after[service][1] != before[service][1] for service in before)
    with pytest.raises(AirflowError):
        type(stack.airflow())(stack.url("airflow"), *before["Airflow"]).runs("housing_training")
    assert stack.airflow().runs("housing_training")
    files = f"{stack.url('notebooks')}/api/contents"
    for logins, allowed in ((before, 403), (after, 200)):
        token = {"Authorization": f"token {logins['JupyterLab'][1]}"}
        assert httpx.get(files, headers=token, timeout=30).status_code == allowed
    assert not stack.containers("gradio") + stack.containers("locust")
    assert stack.sql("SELECT 1") == [(1,)]
    eventually(lambda: stack.champion(), "a champion after the rotation")
    [known] = stack.predict()["prediction_ids"]
    eventually(
        lambda: stack.sql(f"SELECT id FROM RawData.predictions WHERE id = '{known}'"),
        "a logged prediction afterwards",
    )
    airflow, since = stack.airflow(), datetime.now(UTC).isoformat()
    airflow.trigger("housing_training")

    def worked() -> bool:
        runs = [run["dag_run_id"] for run in airflow.runs("housing_training")[:3]]
        tasks = [task for run in runs for task in airflow.tasks("housing_training", run)]
        return any(
            task["state"] in ("success", "skipped") and (task["start_date"] or "") > since for task in tasks
        )

    eventually(worked, "a task that ran with the new secrets")


def test_down_with_volumes_leaves_nothing(stack):
    stack.down("--volumes")
    assert stack.left() == []
    for port in stack.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
