"""Operating the booted stack: a second start, a lost queue, more workers, profiles, restart, rotation, removal."""

import shutil
import socket
import time
from datetime import UTC, datetime

import httpx
import pytest

from mlops_lab.local.airflow_client import AirflowError
from mlops_lab.settings import REPOSITORY
from tests.stack.stack import PATIENCE, eventually
from tests.stack.test_boot import ONE_SHOTS

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]


@pytest.fixture(scope="module", autouse=True)
def quiet(stack) -> None:
    """No training of housing takes the two cores from these tests, and none keeps a worker from its end."""
    stack.airflow().pause("housing_training")


def test_a_second_up_changes_nothing(stack):
    before = {container["Name"]: container["State"]["StartedAt"] for container in stack.containers()}
    logins = stack.logins()
    stack.up()
    after = {container["Name"]: container["State"]["StartedAt"] for container in stack.containers()}
    kept = {name for name in before if not any(f"-{one_shot}-" in name for one_shot in ONE_SHOTS)}
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert stack.logins() == logins


def test_a_worker_that_does_not_consume_is_unhealthy(stack):
    command = stack.containers("airflow-worker")[0]["Config"]["Healthcheck"]["Test"][1:]

    def healthy() -> bool:
        stack.run_in("airflow-worker", *command)
        return True

    def age() -> None:
        """As after minutes without a message: the worker is unhealthy until it consumes one."""
        stack.run_in("airflow-worker", "touch", "--date", "5 minutes ago", "/tmp/lab-consumed")

    age()
    eventually(healthy, "the worker's next message")
    stack.compose("stop", "redis")
    age()
    # One and a half times the pause between two messages: see stack/airflow/lab_celery.py.
    time.sleep(15)
    with pytest.raises(AssertionError):
        healthy()
    stack.compose("start", "redis")
    eventually(healthy, "the worker's health with Redis again")


def test_three_workers_work_on_a_use_case_added_while_the_stack_runs(stack, use_cases, record_property):
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
    served = httpx.get(f"{stack.url('inference')}/ready", timeout=60).json()["models"]
    record_property(f"MiB of inference with {len(served)} models", round(stack.memory()["inference-1"]))
    stack.up("--scale", "airflow-worker=1")


def test_every_profile_starts(stack):
    profiles = stack.compose("config", "--profiles").split()
    flags = [word for profile in profiles for word in ("--profile", profile)]
    stack.compose(*flags, "up", "--detach", "--wait", "--wait-timeout", str(int(PATIENCE)))
    for service in ("gradio", "notebooks", "locust"):
        assert [one["State"]["Health"]["Status"] for one in stack.containers(service)] == ["healthy"], service


def test_the_page_reaches_airflow_with_its_login_only_where_a_person_turned_it_on(stack):
    sign_in = (
        "from os import environ; from mlops_lab.local.airflow_client import AirflowClient;"
        "AirflowClient(environ.get('LAB_AIRFLOW_API_URL', 'http://airflow-api-server:8080'), *{}, patience=1).sign_in()"
    ).format(stack.login("Airflow"))
    with pytest.raises(AssertionError, match="AirflowError"):
        stack.run_in("streamlit", "python", "-c", sign_in)
    stack.compose("up", "--detach", "--wait", "--no-deps", "streamlit", more="stack/acts.yml")
    stack.run_in("streamlit", "python", "-c", sign_in)
    stack.up()


def test_the_monitoring_dag_deletes_what_is_past_its_time(stack):
    """With the accounts of the stack: payloads in MinIO, runs and versions in MLflow, Airflow's own history."""
    champion, answer, airflow = stack.champion(), stack.predict()["predictions"], stack.airflow()
    old = {run["dag_run_id"] for run in airflow.runs("housing_training") if run["state"] == "success"}
    stack.root_sql(
        "UPDATE RawData.batches SET landed_at = landed_at - INTERVAL 91 DAY;"
        "UPDATE mlflow.runs SET start_time = start_time - 91 * 86400000"
    )
    client = 'PGPASSWORD=$(cat /secrets/superuser-password) psql -h 127.0.0.1 -U postgres airflow -c "$1"'
    older = (
        "UPDATE dag_run SET start_date = start_date - interval '31 days' WHERE dag_id = 'housing_training'"
    )
    stack.run_in("postgres", "sh", "-c", client, "sh", older)
    asked = airflow.trigger("monitoring")

    def ended() -> dict[str, str] | None:
        states = {run["dag_run_id"]: run["state"] for run in airflow.runs("monitoring")}
        if states[asked] not in ("success", "failed"):
            return None
        return {task["task_id"]: task["state"] for task in airflow.tasks("monitoring", asked)}

    tasks = eventually(ended, "the end of a run of the monitoring DAG")
    assert (tasks["clean"], tasks["clean_airflow"]) == ("success", "success")
    deleted = "SELECT COUNT(*) FROM RawData.batches WHERE payload_deleted_at IS NOT NULL"
    assert stack.sql(deleted)[0][0] > 0
    [runs] = stack.root_sql("SELECT COUNT(*) FROM mlflow.runs WHERE lifecycle_stage = 'deleted'")
    assert int(runs) > 0
    # Airflow keeps the newest scheduled run. Without the tests of alerts before it, that may be the only one.
    assert len(old & {run["dag_run_id"] for run in airflow.runs("housing_training")}) <= 1 <= len(old)
    assert (stack.champion(), stack.predict()["predictions"]) == (champion, answer)


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
    # JupyterLab runs; Gradio and Locust must not be started by the rotation.
    stack.up("notebooks")
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
    airflow.unpause("housing_training")
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
