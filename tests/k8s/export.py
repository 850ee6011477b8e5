"""Both sides of the comparison: the compose files as kompose merges them, the manifests as kubectl renders them."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops_lab.settings import REPOSITORY

EXPORT = REPOSITORY / "k8s-export"
TOOLS = REPOSITORY / ".venv" / "k8s" / "bin"
# The input of kompose. The second file has the settings for the cluster alone.
COMPOSE_FILES = (REPOSITORY / "docker-compose.yml", EXPORT / "compose.cluster.yml")
# Folders whose kustomization.yaml makes ConfigMaps of their files.
FOLDERS = ("dags", "observability", "stack", "use_cases")
# `make k8s-secrets` makes the cluster's secrets, so no service there may write any.
OUTSIDE = {"secrets-init"}


def kubectl() -> str:
    """The pinned kubectl that `make k8s-tools` installs, or any other."""
    found = str(TOOLS / "kubectl") if (TOOLS / "kubectl").exists() else shutil.which("kubectl")
    if not found:
        pytest.fail("no kubectl: run `make k8s-tools`")
    return found


def rendered_text(folder: Path = EXPORT) -> str:
    done = _kustomize(folder)
    if done.returncode:
        gone = re.search(r"lstat \S*/(\S+): no such file", done.stderr)
        pytest.fail(f"{gone[1]} is gone: run `make k8s-files`, which needs no Go" if gone else done.stderr)
    return done.stdout


@cache
def _kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [kubectl(), "kustomize", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@cache
def rendered(folder: Path = EXPORT) -> "Manifests":
    return Manifests(
        [document for document in yaml.load_all(rendered_text(folder), yaml.CSafeLoader) if document]
    )


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
    """Both compose files merged, with every variable at its default."""
    texts = [file.read_text() for file in COMPOSE_FILES]
    first, second = (yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*(?:\{\w+\})?)\}", r"\1", text)) for text in texts)
    return _merged(first, second)


def services() -> dict[str, dict]:
    """Every service, also those that compose starts by profile."""
    return compose()["services"]


def tag() -> str:
    """The one tag of the lab's own images in the cluster, which `make k8s-tag` sets."""
    return yaml.safe_load((EXPORT / "lab" / "kustomization.yaml").read_text())["images"][0]["newTag"]


def in_cluster() -> list[str]:
    """The services that the cluster runs."""
    return sorted(set(services()) - OUTSIDE)


def _merged(first: Any, second: Any, key: str = "") -> Any:
    """The merge of two compose files: mappings by key, lists one after the other, else the second value."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first | {
            key: _merged(first[key], value, key) if key in first else value for key, value in second.items()
        }
    replaced = key in ("test", "command", "entrypoint")
    return first + second if isinstance(first, list) and not replaced else second


def cores(amount: str) -> float:
    """`250m` or `1.5` as a number of cores."""
    return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)


def size(amount: str) -> int:
    """`96Mi`, `2Gi` or a number of bytes as bytes."""
    unit = {"Mi": 2**20, "Gi": 2**30}.get(amount[-2:])
    return int(amount[:-2]) * unit if unit else int(amount)
