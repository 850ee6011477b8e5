"""The manifests of `kubectl apply -k k8s-export` are valid, pass Pod Security "restricted", and hold no secret.

checkov and kube-score check the same manifests in `make k8s-check`.
"""

import re
import subprocess

import pytest
import yaml

from tests.k8s.export import EXPORT, TOOLS, Manifests, rendered, rendered_text

SMALL = EXPORT / "overlays" / "small"
EXPORTS = [EXPORT, SMALL]
VERSIONS = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36"]
every_export = pytest.mark.parametrize("folder", EXPORTS, ids=lambda folder: folder.name)


# The overlay differs in three numbers, so the oldest and the newest version are enough for it.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "version"),
    [(EXPORT, version) for version in VERSIONS] + [(SMALL, VERSIONS[0]), (SMALL, VERSIONS[-1])],
    ids=lambda value: getattr(value, "name", value),
)
def test_schemas(folder, version, tmp_path):
    validate = TOOLS / "kubernetes-validate"
    if not validate.exists():
        pytest.fail("no kubernetes-validate: run `make k8s-tools`")
    file = tmp_path / "rendered.yaml"
    file.write_text(rendered_text(folder))
    command = [validate, "--strict", "--kubernetes-version", version, file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    faults = [line for line in (done.stdout + done.stderr).splitlines() if "passed" not in line]
    assert (done.returncode, faults) == (0, [])
    assert done.stdout.count("passed") + done.stderr.count("passed") == len(rendered(folder).objects)


@pytest.mark.slow
def test_a_wrong_manifest_fails(tmp_path):
    """The validator finds a fault: guards against one that accepts everything."""
    file = tmp_path / "wrong.yaml"
    wrong = yaml.safe_load((EXPORT / "base" / "mysql-deployment.yaml").read_text())
    wrong["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"port": 3306}]
    file.write_text(yaml.safe_dump(wrong))
    command = [TOOLS / "kubernetes-validate", "--strict", "--kubernetes-version", "1.34", file]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


@every_export
def test_pod_security_restricted(folder):
    """The standard's rules, field by field (Pod Security Standards, "restricted"); no exception."""
    assert rendered(folder).all("Namespace")["mlops-lab"]["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
    for name, pod in _pods(rendered(folder)):
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod), name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= allowed, f"{name}: {volume}"
        for container in pod["containers"] + pod.get("initContainers", []):
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False, name
            assert rights["capabilities"] == {"drop": ["ALL"]}, name
            assert rights["runAsUser"] > 0, name
            assert not {"privileged", "procMount"} & set(rights), name
            assert not any("hostPort" in port for port in container.get("ports", [])), name


@every_export
def test_pods_get_no_rights_on_the_cluster(folder):
    for name, pod in _pods(rendered(folder)):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
    assert not {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"} & {
        found["kind"] for found in rendered(folder).objects
    }


@every_export
def test_bounded(folder):
    for name, pod in _pods(rendered(folder)):
        for container in pod["containers"] + pod.get("initContainers", []):
            assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["requests"]), name
            assert {"cpu", "memory", "ephemeral-storage"} == set(container["resources"]["limits"]), name


@every_export
def test_no_secret_is_written_down(folder):
    assert not rendered(folder).all("Secret")
    text = rendered_text(folder)
    for pattern in (
        r"-----BEGIN",
        r"://[^\s/:@]+:[^\s/@{]+@",
        r"(?i)(password|secret|token)\s*[:=]\s*['\"]?\w{16,}",
    ):
        assert not re.search(pattern, text), re.search(pattern, text)


@every_export
def test_images_are_pinned_and_the_labs_own_come_from_the_clusters_registry(folder):
    tags = set()
    for name, pod in _pods(rendered(folder)):
        for container in pod["containers"] + pod.get("initContainers", []):
            image, tag = container["image"].rsplit(":", 1)
            assert tag not in ("latest", ""), name
            assert container["imagePullPolicy"] == "IfNotPresent"
            if "mlops-lab" in image:
                assert image.startswith("localhost:32000/mlops-lab/"), name
                tags.add(tag)
    assert len(tags) == 1


def test_the_tag_is_one_setting(tmp_path):
    text = (EXPORT / "lab" / "kustomization.yaml").read_text()
    assert len(re.findall(r"&tag \"[^\"]+\"", text)) == 1
    images = yaml.safe_load(text)["images"]
    assert len({image["newTag"] for image in images}) == 1
    used = set(re.findall(r"localhost:32000/mlops-lab/[\w-]+", rendered_text()))
    assert {image["newName"] for image in images} == used


def test_a_disruption_or_an_autoscaler_is_only_where_there_are_replicas():
    assert set(rendered().all("PodDisruptionBudget")) == {"inference"}
    assert set(rendered().all("HorizontalPodAutoscaler")) == {"inference"}
    assert "replicas" not in rendered().workloads["inference"]["spec"]
    headless = rendered().all("Service")["inference-replicas"]["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)


def test_the_small_overlay_lowers_requests_and_replicas_and_nothing_else():
    full, small = ({_key(found): found for found in rendered(folder).objects} for folder in EXPORTS)
    assert set(full) == set(small)
    for key, found in small.items():
        assert _without_requests(found) == _without_requests(full[key]), key
    requests = sum(
        float(container["resources"]["requests"]["cpu"].removesuffix("m"))
        for _, pod in _pods(rendered(SMALL))
        for container in pod["containers"]
    )
    assert requests < 1200, "millicores: two cores hold the cluster itself, too"


def _pods(manifests: Manifests):
    return [(name, found["spec"]["template"]["spec"]) for name, found in manifests.workloads.items()]


def _key(found: dict) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


def _without_requests(found: dict) -> dict:
    found = yaml.safe_load(yaml.safe_dump(found))
    pod = found["spec"].get("template", {}).get("spec", {}) if "spec" in found else {}
    for container in pod.get("containers", []) + pod.get("initContainers", []):
        container["resources"].pop("requests")
    if found["kind"] == "HorizontalPodAutoscaler":
        for field in ("minReplicas", "maxReplicas"):
            found["spec"].pop(field)
    return found
