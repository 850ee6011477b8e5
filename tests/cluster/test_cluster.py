"""`kubectl apply -k k8s-export` on three nodes: everything runs, a champion is served, the lab recovers from faults.

The tests run in this order on one cluster: a later test uses the state that earlier ones made.
"""

import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from mlops_lab.settings import REPOSITORY
from tests.cluster.cluster import PATIENCE, ROLES, SMALL, Callers
from tests.cluster.install import build_and_load, copy_export
from tests.k8s.export import rendered, tag
from tests.stack.stack import eventually
from tests.support.flats import FLATS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3 * PATIENCE)]

IMAGE = "localhost:32000/mlops-lab/inference"
DEPLOYMENTS = sorted(rendered(SMALL).all("Deployment"))
JOBS = sorted(rendered(SMALL).all("Job"))


@pytest.fixture
def export(tmp_path) -> Path:
    """A copy of the export's sources, which a test may change."""
    copy_export(tmp_path)
    shutil.copy2(REPOSITORY / "Makefile", tmp_path)
    return tmp_path


def test_everything_starts(cluster, record_property):
    for job in JOBS:
        cluster.lab(
            "wait",
            "--for=condition=complete",
            f"job/{job}",
            f"--timeout={PATIENCE:.0f}s",
            timeout=PATIENCE + 60,
        )
    for name in DEPLOYMENTS:
        if name != "inference":  # ready once it serves a model
            cluster.lab(
                "rollout", "status", f"deployment/{name}", f"--timeout={PATIENCE:.0f}s", timeout=PATIENCE + 60
            )
    record_property("seconds from apply to all pods ready", cluster.seconds_since_apply)


def test_each_pod_is_on_its_server(cluster):
    for name in DEPLOYMENTS:
        affinity = rendered(SMALL).pod(name)["affinity"]["nodeAffinity"]
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
        if required and rendered(SMALL).all("Deployment")[name]["spec"].get("replicas") != 0:
            [role] = required["nodeSelectorTerms"][0]["matchExpressions"][0]["values"]
            assert {ROLES[pod["spec"]["nodeName"]] for pod in cluster.pods(name)} == {role}, name
    spread = {pod["spec"]["nodeName"] for pod in cluster.pods("inference")}
    assert len(spread) == 2, "both replicas of inference are on one node"


def test_pod_security_refuses_what_is_not_restricted(cluster):
    said = cluster.lab("run", "bad", f"--image={IMAGE}:{tag()}", "--privileged", check=False)
    assert "violates PodSecurity" in said
    said = cluster.lab("run", "root", f"--image={IMAGE}:{tag()}", check=False)
    assert "violates PodSecurity" in said


def test_housing_reaches_a_champion_through_airflow(cluster, record_property):
    cluster.airflow().wait_for_dag("housing_training", timeout=PATIENCE)
    version = eventually(lambda: cluster.champion(), "a champion at the inference service", 2 * PATIENCE, 5)
    record_property("first champion", version)
    eventually(lambda: len(cluster.ready("inference")) >= 2, "both replicas ready")
    record_property("seconds from apply to a champion on both replicas", cluster.seconds_since_apply)


def test_predictions_come_through_every_nodes_port_and_are_logged(cluster):
    for node in ROLES:
        reply = cluster.predict(node)
        assert reply.status_code == 200, reply.text
    known = reply.json()["prediction_ids"][0]
    query = f"SELECT COUNT(*) FROM RawData.predictions WHERE id = '{known}'"
    eventually(lambda: cluster.sql(query) == "1", "the logged prediction", 120)
    logged = httpx.get(f"{cluster.url(30800)}/predictions/{known}", headers=cluster.key, timeout=60).json()
    assert (logged["id"], logged["prediction"]) == (known, reply.json()["predictions"][0])
    for path in ("models", f"predictions/{known}"):
        assert httpx.get(f"{cluster.url(30800)}/{path}", timeout=60).status_code == 401
    assert httpx.get(cluster.url(30860), timeout=60).status_code == 200
    assert httpx.get(f"{cluster.url(30300)}/api/health", timeout=60).status_code == 200


def test_mlflow_requires_a_login(cluster):
    path = f"{cluster.url(30500)}/api/2.0/mlflow/registered-models/alias?name=housing&alias=champion"
    assert httpx.get(path, timeout=60).status_code == 401
    assert httpx.get(path, auth=cluster.logins["MLflow reader"], timeout=60).status_code == 200
    moved = {"name": "housing", "alias": "champion", "version": "1"}
    reply = httpx.post(path.split("?")[0], json=moved, auth=cluster.logins["MLflow reader"], timeout=60)
    assert reply.status_code == 403


def test_network_policies_separate_the_services(cluster):
    program = (
        "import socket, sys\n"
        "for target in sys.argv[1:]:\n"
        "    host, port = target.split(':')\n"
        "    try: socket.create_connection((host, int(port)), 3).close(); print('open', target)\n"
        "    except OSError: print('shut', target)\n"
    )

    def tried(service: str, *targets: str) -> dict[str, str]:
        said = cluster.lab("exec", f"deployment/{service}", "--", "python", "-c", program, *targets)
        return {line.split()[1]: line.split()[0] for line in said.splitlines()}

    closed = ("mysql:3306", "postgres:5432", "redis:6379", "minio:9000", "data-api:8081")
    page = tried("streamlit", *closed, "mlflow:5000", "inference:8085")
    assert page == dict.fromkeys(closed, "shut") | {"mlflow:5000": "open", "inference:8085": "open"}
    assert tried("inference", "mysql:3306", "postgres:5432", "minio:9000") == {
        "mysql:3306": "open",
        "postgres:5432": "shut",
        "minio:9000": "shut",
    }
    shut_in = tried("airflow-scheduler", "kubernetes.default.svc:443", "mysql:3306", "postgres:5432")
    assert shut_in == {"kubernetes.default.svc:443": "shut", "mysql:3306": "shut", "postgres:5432": "open"}


def test_a_tool_without_replicas_starts_when_it_is_scaled(cluster):
    assert not cluster.pods("notebooks") + cluster.pods("locust")
    build_and_load(cluster, "notebooks", "locust")
    cluster.lab("scale", "deployment/notebooks", "deployment/locust", "--replicas=1")
    for name in ("notebooks", "locust"):
        eventually(lambda name=name: cluster.ready(name), f"{name} ready", PATIENCE, 5)
    page = f"{cluster.url(30880)}/api/contents"
    # A node's port follows a pod's readiness by a moment.
    eventually(lambda: httpx.get(page, timeout=60).status_code == 403, "JupyterLab requiring its token", 60)
    token = {"Authorization": f"token {cluster.logins['JupyterLab token'][1]}"}
    found = httpx.get(page, headers=token, timeout=60).json()["content"]
    assert "04_experiments.ipynb" in {entry["name"] for entry in found}
    cluster.lab("scale", "deployment/notebooks", "deployment/locust", "--replicas=0")


def test_a_new_use_case_needs_no_new_image(cluster, export, record_property):
    """`make k8s-use-cases`, as in docs/cluster.md."""
    (export / "use_cases" / "flats.py").write_text(FLATS)
    cluster.make(export, "k8s-use-cases")
    started = time.monotonic()
    cluster.airflow().wait_for_dag("flats_training", timeout=300)
    record_property("seconds until its DAG", round(time.monotonic() - started))


def test_volumes_keep_their_data_when_a_pod_is_replaced(cluster):
    before = int(cluster.sql("SELECT COUNT(*) FROM RawData.housing_raw"))
    old = cluster.pods("mysql")[0]["metadata"]["name"]
    cluster.lab("delete", "pod", old)
    eventually(
        lambda: int(cluster.sql("SELECT COUNT(*) FROM RawData.housing_raw")) >= before > 0, "the rows again"
    )
    assert cluster.pods("mysql")[0]["metadata"]["name"] != old


def test_a_new_image_rolls_out_and_back_without_a_failed_prediction(cluster, export, record_property):
    old, new = f"{IMAGE}:{tag()}", f"{IMAGE}:rolled-out"
    subprocess.run(["docker", "tag", old, new], env=cluster._environment, timeout=60, check=True)
    cluster.load(new)
    settings = export / "k8s-export" / "lab" / "kustomization.yaml"
    text = settings.read_text()
    line = next(line for line in text.splitlines() if "name: localhost/mlops-lab/inference," in line)
    settings.write_text(text.replace(line, line.replace("*tag", '"rolled-out"')))
    with Callers(cluster) as callers:
        cluster.apply(export / SMALL.relative_to(REPOSITORY))
        cluster.lab("rollout", "status", "deployment/inference", "--timeout=900s", timeout=960)
        assert _images(cluster) == {new}
        cluster.apply()
        cluster.lab("rollout", "status", "deployment/inference", "--timeout=900s", timeout=960)
    assert _images(cluster) == {old}
    record_property("predictions during the rollout and back", callers.answered)
    assert callers.answered > 20
    assert callers.failures == []


def _images(cluster) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in cluster.ready("inference")}


def test_load_adds_replicas(cluster, record_property):
    started = time.monotonic()
    with Callers(cluster, count=4, path="explain"):  # costs a hundred predictions, and logs none
        eventually(lambda: len(cluster.pods("inference")) > 2, "a third replica by the autoscaler", 600, 5)
    record_property("seconds until a third replica", round(time.monotonic() - started))


def test_services_of_a_lost_node_move_to_another(cluster, record_property):
    """server3 fails: pages and inference move, services with data there wait for it, and no data is lost."""
    cluster.stop_node("vm3")
    stopped = time.monotonic()
    try:
        # Half a minute until the node counts as lost, half a minute of patience with it.
        for service in ("streamlit", "inference", "gradio"):
            eventually(
                lambda service=service: [
                    pod for pod in cluster.ready(service) if pod["spec"]["nodeName"] != "vm3"
                ],
                f"{service} on another node",
                600,
                5,
            )
        eventually(lambda: cluster.predict("vm1").status_code == 200, "a prediction without vm3", 300)
        page = cluster.url(30860)  # a node's port follows a pod's readiness by a moment
        eventually(lambda: httpx.get(page, timeout=60).status_code == 200, "the page without vm3", 60)
        record_property("seconds until pages and inference have moved", round(time.monotonic() - stopped))
    finally:
        cluster.start_node("vm3")
    for service in ("data-api", "prometheus", "grafana"):
        eventually(lambda service=service: cluster.ready(service), f"{service} again", PATIENCE, 5)
    eventually(lambda: cluster.predict("vm3").status_code == 200, "a prediction through vm3", 300)


def test_a_backup_is_restored_to_a_cluster_without_the_lab(cluster, tmp_path, record_property):
    """The last test: a restored lab has the settings of the manifests, not those that tests made."""
    cluster.airflow().pause("housing_training")
    eventually(lambda: not _working(cluster), "the end of the task under way", PATIENCE, 5)
    champion, answer, logins = cluster.champion(), cluster.predict().json()["predictions"], cluster.logins
    runs, counts = _runs(cluster), _counts(cluster)
    backup, damaged = tmp_path / "backup", tmp_path / "damaged"
    started = time.monotonic()
    cluster.make(REPOSITORY, "k8s-backup", f"FOLDER={backup}")
    record_property("seconds of a backup", round(time.monotonic() - started))
    record_property("MB of a backup", round(sum(file.stat().st_size for file in backup.iterdir()) / 1e6))

    shutil.copytree(backup, damaged)
    with (damaged / "mysql.sql").open("ab") as file:
        file.write(b"x")
    said = cluster.make(REPOSITORY, "k8s-restore", f"FOLDER={damaged}", check=False)
    assert "mysql.sql: FAILED; nothing was changed" in said
    said = cluster.make(REPOSITORY, "k8s-restore", f"FOLDER={backup}", check=False)
    assert "has data of a lab; `kubectl delete namespace mlops-lab`" in said
    assert cluster.champion() == champion

    cluster.kubectl("delete", "namespace", "mlops-lab", timeout=600)
    started = time.monotonic()
    cluster.make(REPOSITORY, "k8s-restore", f"FOLDER={backup}")
    eventually(lambda: cluster.champion() == champion, "the champion of the backup")
    record_property("seconds of a restore until the champion predicts", round(time.monotonic() - started))
    assert cluster.predict().json()["predictions"] == answer
    del cluster.logins  # read again
    assert cluster.logins == logins
    assert _counts(cluster) == counts
    assert runs <= _runs(cluster)


def _counts(cluster) -> list[int]:
    tables = ("RawData.batches", "RawData.promotions", "RawData.models")
    return [int(cluster.sql(f"SELECT COUNT(*) FROM {table}")) for table in tables]


def _runs(cluster) -> set[str]:
    return {run["dag_run_id"] for run in cluster.airflow().runs("housing_training")}


def _working(cluster) -> bool:
    """Whether a task runs. A run of a paused DAG stays open and starts no further task."""
    airflow = cluster.airflow()
    tasks = airflow.tasks("housing_training", airflow.runs("housing_training")[0]["dag_run_id"])
    return any(task["state"] in ("queued", "running") for task in tasks)
