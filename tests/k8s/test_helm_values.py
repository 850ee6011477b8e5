"""Airflow's Helm chart gives the same pods as the export: its values are compared with the rendered manifests."""

import yaml

from tests.k8s.export import EXPORT, cores, rendered, size

PARTS = {
    "apiServer": "airflow-api-server",
    "scheduler": "airflow-scheduler",
    "dagProcessor": "airflow-dag-processor",
    "workers": "airflow-worker",
}
VALUES = yaml.safe_load((EXPORT / "helm" / "values.yaml").read_text())


def test_settings_image_and_tag_are_the_exports():
    given = {variable["name"]: variable["value"] for variable in VALUES["env"]}
    wanted = {}
    for service in PARTS.values():
        for variable in rendered().container(service)["env"]:
            value = variable.get("value", "")
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["configMapKeyRef"]
                value = rendered().all("ConfigMap")[reference["name"]]["data"][reference["key"]]
            wanted[variable["name"]] = value
    wanted["LAB_INFERENCE_URL"] = "http://inference-replicas:8085"
    assert given == wanted
    image = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    assert image == rendered().container("airflow-worker")["image"]


def test_what_comes_from_a_command_is_not_set_by_the_chart():
    commands = {v["name"].removesuffix("_CMD") for v in VALUES["env"] if v["name"].endswith("_CMD")}
    assert commands <= set(VALUES["enableBuiltInSecretEnvVars"])
    assert not any(VALUES["enableBuiltInSecretEnvVars"].values())


def test_each_part_has_its_secrets_networks_and_limits():
    for part, service in PARTS.items():
        mounts = {mount["mountPath"] for mount in VALUES[part]["extraVolumeMounts"]}
        exported = {mount["mountPath"] for mount in rendered().container(service)["volumeMounts"]}
        assert mounts == exported - {"/tmp", "/opt/airflow/logs"}
        [secret] = [volume["secret"] for volume in VALUES[part]["extraVolumes"] if "secret" in volume]
        assert secret["secretName"] == f"secrets-{service}"
        labels = VALUES["labels"] | VALUES[part].get("labels", {})
        networks = {label for label in labels if "network" in label}
        assert networks == {label for label in rendered().labels(service) if "network" in label}
        limits = rendered().container(service)["resources"]["limits"]
        given = VALUES[part]["resources"]["limits"]
        assert cores(given["cpu"]) == cores(limits["cpu"])
        assert size(given["memory"]) == size(limits["memory"])


def test_the_overlay_leaves_airflows_pods_to_the_chart():
    left = rendered(EXPORT / "overlays" / "helm-airflow")
    assert not set(PARTS.values()) & set(left.workloads)
    assert set(rendered().workloads) - set(left.workloads) == set(PARTS.values())
    assert "airflow-api-server" not in left.all("Service")
