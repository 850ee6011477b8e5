"""`make k8s-secrets`: every Secret that a pod mounts, the same values at every run; the API server is stood in for."""

import base64
import os
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.k8s.export import EXPORT, kubectl, rendered

# `kubectl kustomize` and `create --dry-run=client` are the real ones; a folder takes what is applied.
STAND_IN = """#!/bin/sh
set -eu
[ "$1" != --namespace ] || shift 2
case "$1 $2" in
  "kustomize "*) exec {kubectl} "$@" ;;
  "create secret") exec {kubectl} --namespace mlops-lab "$@" ;;
  "get secret")
    [ -f "{folder}/$3.yaml" ] || exit 0
    sed -n '/^data:/,/^[a-z]*:/s/^  \\([^:]*\\): \\(.*\\)$/\\1 \\2/p' "{folder}/$3.yaml" | tr -d '"' ;;
  "apply --server-side") # the last argument: from standard input, or the export
    case "$*" in *" -") ;; *) echo "$*" >>"{folder}/other"; exit 0 ;; esac
    cat >"{folder}/new"
    mv "{folder}/new" "{folder}/$(sed -n 's/^  name: //p' "{folder}/new").yaml" ;;
  *) echo "$*" >>"{folder}/other" ;;
esac
"""


@pytest.fixture
def cluster(tmp_path) -> Path:
    folder = tmp_path / "api"
    folder.mkdir()
    program = tmp_path / "kubectl"
    program.write_text(STAND_IN.format(kubectl=kubectl(), folder=folder))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return folder


def run(cluster: Path, *command: str) -> str:
    home = cluster.parent / "tmp"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [EXPORT / "secrets", *command],
        env={"PATH": os.environ["PATH"], "KUBECTL": str(cluster.parent / "kubectl"), "TMPDIR": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert not list(home.iterdir()), "secrets were left on this machine"
    return done.stdout


def kept(cluster: Path) -> dict[str, dict[str, str]]:
    """Secret name: file name: value."""
    found = [yaml.safe_load(path.read_text()) for path in cluster.glob("*.yaml")]
    return {
        secret["metadata"]["name"]: {
            key: base64.b64decode(value or "").decode() for key, value in secret["data"].items()
        }
        for secret in found
    }


def test_every_secret_that_a_pod_mounts_is_made_and_a_second_run_changes_none(cluster):
    run(cluster, "init")
    first = kept(cluster)
    mounted = {
        volume["secret"]["secretName"]
        for found in rendered().workloads.values()
        for volume in found["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert set(first) == mounted | {"secrets-store"}
    run(cluster, "init")
    assert kept(cluster) == first


def test_a_lost_secret_comes_back_with_its_values(cluster):
    run(cluster, "init")
    first = kept(cluster)
    (cluster / "secrets-inference.yaml").unlink()
    run(cluster, "init")
    assert kept(cluster) == first


def test_mlflow_knows_the_logins_that_its_readers_have(cluster):
    run(cluster, "init")
    secrets = kept(cluster)
    assert secrets["secrets-airflow-worker"]["lab_mlflow_username"] == "pipeline"
    assert (
        secrets["secrets-airflow-worker"]["lab_mlflow_password"]
        == secrets["secrets-mlflow"]["pipeline-password"]
    )
    for service in ("inference", "streamlit"):
        assert secrets[f"secrets-{service}"]["lab_mlflow_username"] == "reader"
        assert (
            secrets[f"secrets-{service}"]["lab_mlflow_password"]
            == secrets["secrets-mlflow"]["reader-password"]
        )
    assert secrets["secrets-notebooks"]["lab_mlflow_username"] == "notebooks"
    assert (
        secrets["secrets-notebooks"]["lab_mlflow_password"] == secrets["secrets-mlflow"]["notebooks-password"]
    )
    shown = run(cluster, "show")
    for login in ("airflow-admin", "grafana-admin", "minio-root", "mlflow-admin"):
        assert secrets["secrets-store"][login] in shown


def test_rotation_changes_every_value_and_restarts_what_reads_them(cluster):
    run(cluster, "init")
    first = kept(cluster)["secrets-store"]
    run(cluster, "rotate")
    second = kept(cluster)["secrets-store"]
    assert not [name for name in first if first[name] and first[name] == second[name]]
    assert second["mysql-root.previous"].splitlines()[0] == first["mysql-root"]
    asked = (cluster / "other").read_text()
    assert asked.index("delete job --all") < asked.index("--kustomize") < asked.index("rollout restart")
