"""The two sides of the comparison: the compose file as compose reads it, and the manifests as kubectl renders them."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest
import yaml

from mlops_lab.settings import REPOSITORY

EXPORT = REPOSITORY / "k8s-export"
TOOLS = REPOSITORY / ".venv" / "k8s" / "bin"


def kubectl() -> str:
    """The pinned kubectl that `make k8s-tools` installs, or any other."""
    found = str(TOOLS / "kubectl") if (TOOLS / "kubectl").exists() else shutil.which("kubectl")
    if not found:
        pytest.fail("no kubectl: run `make k8s-tools`")
    return found


@cache
def rendered_text(folder: Path = EXPORT) -> str:
    done = subprocess.run(
        [kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


@cache
def rendered(folder: Path = EXPORT) -> "Manifests":
    return Manifests([document for document in yaml.safe_load_all(rendered_text(folder)) if document])


@dataclass
class Manifests:
    """All objects that `kubectl apply -k` would send."""

    objects: list[dict]

    def all(self, kind: str) -> dict[str, dict]:
        return {found["metadata"]["name"]: found for found in self.objects if found["kind"] == kind}

    @cached_property
    def workloads(self) -> dict[str, dict]:
        return {**self.all("Deployment"), **self.all("Job")}

    def pod(self, service: str) -> dict:
        assert service in self.workloads, f"{service} has no workload: run `make k8s-export`"
        return self.workloads[service]["spec"]["template"]["spec"]

    def container(self, service: str) -> dict:
        [container] = self.pod(service)["containers"]
        return container

    def labels(self, service: str) -> dict:
        return self.workloads[service]["spec"]["template"]["metadata"]["labels"]


@cache
def compose() -> dict:
    """The compose file with every variable at its default."""
    text = (REPOSITORY / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*(?:\{\w+\})?)\}", r"\1", text))


def services() -> dict[str, dict]:
    """Every service, also what compose starts by profile."""
    return compose()["services"]
