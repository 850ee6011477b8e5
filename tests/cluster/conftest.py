"""The cluster that the tests of this folder share; it is removed afterwards."""

import subprocess
from collections.abc import Iterator

import pytest

from mlops_lab.settings import REPOSITORY
from tests.cluster.cluster import MACHINES, ROLES, SMALL, Cluster
from tests.k8s.export import rendered, services, tag


def pytest_configure(config):
    config.addinivalue_line("markers", "cluster: brings up three Kubernetes nodes")


@pytest.fixture(scope="session")
def machines() -> Iterator[Cluster]:
    if not MACHINES.is_dir():
        pytest.skip("no cluster here: docs/cluster.md says what it takes")
    cluster = Cluster()
    if not cluster.built:
        pytest.skip("the cluster's programs are not built: run ../shared/cluster/build (25 minutes) once")
    if cluster.running:  # a person started it to look at it afterwards, and will stop it
        yield cluster
        return
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def cluster(machines) -> Cluster:
    """The lab, applied as docs/cluster.md says: labels, images, secrets, and the export."""
    cluster = machines
    if cluster.has_the_lab:
        return cluster
    cluster.label()
    off = {name for name, found in rendered(SMALL).workloads.items() if found["spec"].get("replicas") == 0}
    build_and_load(cluster, *sorted(set(rendered(SMALL).workloads) - off))
    cluster.secrets("init")
    cluster.apply()
    # An operator's setting: a small market, since two cores carry three nodes and the trainings.
    cluster.lab("set", "env", "deployment/data-api", "LAB_DATOS_SCALE=0.03")
    return cluster


def build_and_load(cluster: Cluster, *names: str) -> None:
    """The images of these services, each onto the nodes where its pods may run."""
    tags = {"LAB_IMAGES": "localhost:32000/mlops-lab", "LAB_TAG": tag()}
    command = ["docker", "compose", "build", *(name for name in names if "build" in services()[name])]
    subprocess.run(command, cwd=REPOSITORY, env=cluster._environment | tags, timeout=3600, check=True)
    nodes: dict[str, set[str]] = {}
    for name in names:
        pod = rendered(SMALL).pod(name)
        required = pod["affinity"]["nodeAffinity"].get("requiredDuringSchedulingIgnoredDuringExecution")
        roles = (
            required["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] if required else ROLES.values()
        )
        image = pod["containers"][0]["image"]
        nodes.setdefault(image, set()).update(node for node, role in ROLES.items() if role in roles)
    for image, where in sorted(nodes.items()):
        cluster.load(image, *sorted(where))
