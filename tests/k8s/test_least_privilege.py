"""What each container may reach, read and use, on one machine and in the cluster. docs/threat-model.md says why.

tests/stack/test_boot.py checks the same on the booted containers.
"""

import re

import pytest

from tests.k8s.export import OUTSIDE, compose, in_cluster, rendered, services

every_service = pytest.mark.parametrize("name", sorted(services()))

# Which services share a network with a store or a queue, and so can connect to it. The passwords are a second wall.
CLIENTS = {
    "postgres": {
        "postgres-init", "redis", "airflow-init", "airflow-api-server", "airflow-scheduler",
        "airflow-dag-processor", "airflow-worker", "exporter", "statsd-exporter",
    },
    "mysql": {"mysql-init", "mlflow", "airflow-init", "airflow-worker", "inference", "notebooks", "exporter"},
    "minio": {"buckets-init", "mlflow", "airflow-worker", "dask-worker", "prometheus"},
    "data-api": {"airflow-worker", "notebooks", "prometheus"},
}  # fmt: skip
CLIENTS["redis"] = CLIENTS["postgres"] - {"redis"} | {"postgres"}
# The pages that people use take no part in the loop: they see the services that predict and report.
PAGES = {"streamlit", "gradio", "locust"}


def _networks(name: str) -> set[str]:
    return set(services()[name]["networks"])


def _secrets(name: str) -> set[str]:
    """The volumes of secrets that the service mounts, with their places and modes."""
    return {volume for volume in services()[name].get("volumes", []) if volume.startswith("secrets-")}


@pytest.mark.parametrize("store", CLIENTS)
def test_only_its_clients_share_a_network_with_a_store(store):
    found = {name for name in services() if name != store and _networks(name) & _networks(store)}
    assert found == CLIENTS[store]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_is_on_one_network_without_a_store(page):
    assert _networks(page) == {"serving"}
    assert not [store for store in CLIENTS if "serving" in _networks(store)]


def test_the_queue_and_airflows_database_have_no_way_out_and_no_published_port():
    assert compose()["networks"]["airflow"] == {"internal": True}
    for name in ("postgres", "redis"):
        assert _networks(name) == {"airflow"}
        assert "ports" not in services()[name]


def test_each_volume_of_secrets_has_one_reader():
    readers = {name: _secrets(name) for name in services() if name not in OUTSIDE and _secrets(name)}
    assert readers == {name: {f"secrets-{name}:/secrets:ro"} for name in readers}
    [writer] = OUTSIDE
    volumes = {volume for volume in compose()["volumes"] if volume.startswith("secrets-")}
    # In the cluster alone the pages have secrets; compose's script writes none for them.
    kept = volumes - {f"secrets-{page}" for page in PAGES}
    written = {f"{v}:/secrets/{v.removeprefix('secrets-')}" for v in kept}
    assert _secrets(writer) == written
    assert not {f"secrets-{name}" for name in readers} - volumes


def test_each_pod_mounts_its_own_secret_alone():
    for name in in_cluster():
        found = {v["secret"]["secretName"] for v in rendered().pod(name)["volumes"] if "secret" in v}
        assert found <= {f"secrets-{name}"}, name
        assert not [v for v in rendered().container(name).get("env", []) if "secretKeyRef" in str(v)], name


@every_service
def test_nothing_is_published_beyond_this_machine(name):
    for port in services()[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@every_service
def test_a_container_has_no_rights_on_the_machine(name):
    service = services()[name]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(
        service
    )
    for volume in service.get("volumes", []):
        source, *_, mode = volume.split(":")
        assert "docker.sock" not in volume
        # What is the machine's is only read.
        assert not source.startswith((".", "/", "$")) or mode == "ro", volume


@every_service
def test_cores_memory_and_processes_are_limited(name):
    limits = services()[name]["deploy"]["resources"]["limits"]
    # Docker refuses more cores than the machine has; the stack is for two.
    assert 0 < float(limits["cpus"]) <= 2
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert limits["pids"] > 0
