"""k8s-export/base is made of the compose files as they are, and has no copy of any other file.

`make lint` compares it with what kompose makes.
"""

import hashlib
import re

import pytest
import yaml

from mlops_lab.settings import REPOSITORY
from tests.k8s.export import COMPOSE_FILES, EXPORT

BASE = EXPORT / "base"
RUN = "a compose file has changed: run `make k8s-export`"


def test_recorded_digest_is_that_of_both_compose_files():
    both = b"".join(file.read_bytes() for file in COMPOSE_FILES)
    recorded = re.search(r"sha256:(\w{64})", (BASE / "kustomization.yaml").read_text())[1]
    assert recorded == hashlib.sha256(both).hexdigest(), RUN


def test_generated_files_are_left_alone():
    """Our patches stand in lab/: `make k8s-export` removes any other file from base/."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in BASE.iterdir() if path.name != "kustomization.yaml")


def test_the_base_holds_only_what_kompose_must_make():
    kinds = {path: yaml.safe_load(path.read_text())["kind"] for path in BASE.glob("*.yaml")}
    assert not [path.name for path, kind in kinds.items() if kind in ("ConfigMap", "Secret")]
    assert len(kinds) <= 65


@pytest.mark.parametrize(
    ("number", "file"), [(0, "docker-compose.yml"), (1, "k8s-export/compose.cluster.yml")]
)
def test_the_page_quotes_the_compose_files_as_they_are(number, file):
    page = (REPOSITORY / "docs" / "cluster.md").read_text()
    section = page.split("### One service from compose to the cluster")[1]
    quoted = re.findall(r"```\n(.*?)```", section, re.DOTALL)[number]
    text = (REPOSITORY / file).read_text()
    assert not [line for line in quoted.splitlines() if line.strip() not in text]
