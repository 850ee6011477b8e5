"""`make k8s-secrets`: every Secret that a pod mounts, the same values at every run. The API server is a stub."""

import base64
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from inference.settings import InferenceSettings
from tests.k8s.export import EXPORT, kubectl, rendered, rendered_text

pytestmark = pytest.mark.process

# `create --dry-run=client` is the real kubectl; `kustomize` answers what was rendered once for all tests; a folder
# takes what is applied.
STUB = """#!/bin/sh
set -eu
[ "$1" != --namespace ] || shift 2
case "$1 $2" in
  "kustomize {export}") cat "{folder}/../rendered" ;;
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


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Path:
    """A cluster whose secrets were made once; the tests work on copies of it."""
    cluster = _cluster(tmp_path_factory.mktemp("cluster"))
    run(cluster, "init")
    return cluster


@pytest.fixture
def cluster(first, tmp_path) -> Path:
    cluster = _cluster(tmp_path)
    shutil.copytree(first, cluster, dirs_exist_ok=True)
    return cluster


def _cluster(home: Path) -> Path:
    """The folder that stands for the API server; beside it are the stub and the rendered manifests."""
    folder = home / "api"
    folder.mkdir()
    (home / "rendered").write_text(rendered_text())
    program = home / "kubectl"
    program.write_text(STUB.format(kubectl=kubectl(), folder=folder, export=EXPORT))
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


def test_every_secret_that_a_pod_mounts_is_made(first):
    mounted = {
        volume["secret"]["secretName"]
        for found in rendered().workloads.values()
        for volume in found["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    assert set(kept(first)) == mounted | {"secrets-store"}


def test_a_second_run_changes_no_value_and_makes_what_was_lost(first, cluster):
    (cluster / "secrets-inference.yaml").unlink()
    run(cluster, "init")
    assert kept(cluster) == kept(first)


def test_mlflow_has_the_logins_that_its_readers_have(cluster):
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


def test_inference_requires_the_keys_that_its_callers_have(cluster):
    secrets = kept(cluster)
    accepted = InferenceSettings(api_keys=secrets["secrets-inference"]["lab_api_keys"]).keys()
    for caller in ("airflow-worker", "streamlit", "gradio", "locust"):
        found = accepted.find(secrets[f"secrets-{caller}"]["lab_api_key"])
        assert (found.name, found.rights) == (caller, {"predict"})
    [person] = [line.split()[2] for line in run(cluster, "show").splitlines() if line.startswith("Inference")]
    assert accepted.find(person).rights == {"predict", "read"}
    for caller in ("inference", "airflow-worker", "streamlit", "gradio", "locust"):
        # Each of them reads the files of its folder as settings.
        variables = {v["name"]: v.get("value") for v in rendered().container(caller)["env"]}
        assert variables["LAB_SECRETS_DIR"] == "/secrets"
        assert not {"LAB_API_KEY", "LAB_API_KEYS"} & set(variables)


def test_rotation_changes_every_value_and_restarts_its_readers(cluster):
    before = kept(cluster)["secrets-store"]
    run(cluster, "rotate")
    after = kept(cluster)["secrets-store"]
    assert not [name for name in before if before[name] and before[name] == after[name]]
    assert after["mysql-root.previous"].splitlines()[0] == before["mysql-root"]
    asked = (cluster / "other").read_text()
    assert asked.index("delete job --all") < asked.index("--kustomize") < asked.index("rollout restart")
