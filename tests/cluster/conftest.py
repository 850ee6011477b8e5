"""The cluster that the tests of this folder share; it is removed afterwards."""

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import MACHINES, SMALL, Cluster
from tests.cluster.install import install


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
    # A small market, since two cores carry three nodes and the trainings.
    install(machines, SMALL, scale=0.03)
    return machines
