"""Every service runs in the cluster as the compose files say: program, rights, environment, ports, volumes, checks.

The tables of this file hold the differences that are meant, each with its reason. Any other difference is a failure,
which `make k8s-export` or the kustomization removes.
"""

import subprocess
import warnings

import pytest
import yaml

from mlops_lab.settings import REPOSITORY
from tests.k8s.export import EXPORT, compose, cores, in_cluster, rendered, services, tag

# One volume for all pods would keep them all on one node.
PRIVATE_VOLUMES = {"airflow-logs", "inference-data"}
# Addresses are those of the cluster: variable → its name in k8s-export/lab/addresses.yaml.
ADDRESSES = {
    "AIRFLOW__API__BASE_URL": "airflow",
    "LAB_AIRFLOW_URL": "airflow",
    "LAB_INFERENCE_PUBLIC_URL": "inference",
    "LAB_MLFLOW_PUBLIC_URL": "mlflow",
    "LAB_ALERTMANAGER_PUBLIC_URL": "alertmanager",
    "LAB_GRAFANA_PUBLIC_URL": "grafana",
    "LAB_PROMETHEUS_PUBLIC_URL": "prometheus",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow-hosts",
}
# In compose a profile starts them, in the cluster a person does.
OFF = {"dask-scheduler", "dask-worker", "locust", "notebooks"}
# A person's own files; the cluster may have none.
OPTIONAL_FOLDERS = {"./data"}
RUN = "a compose file has changed: run `make k8s-export`"
LIST = "run `make k8s-files`, which needs no Go"


def test_every_service_has_its_workload():
    jobs = {name for name in in_cluster() if services()[name]["restart"] == "no"}
    assert set(rendered().all("Job")) == jobs
    assert set(rendered().all("Deployment")) == set(in_cluster()) - jobs
    assert not rendered().all("Pod")


def test_services_that_are_off_have_no_replica():
    found = {name: found["spec"].get("replicas") for name, found in rendered().all("Deployment").items()}
    assert found.pop("inference") is None, "the autoscaler sets the number"
    assert found == {name: 0 if name in OFF else 1 for name in found}
    assert all("profiles" in services()[name] for name in OFF)


@pytest.mark.parametrize("name", in_cluster())
def test_the_service_is_as_compose_has_it(name):
    """Runs every check below on one service, and names all that fail."""
    questions = (program, rights, environment, ports, volumes, health_check, limits, placement, networks)
    faults = []
    for question in questions:
        try:
            question(name)
        except (AssertionError, LookupError, TypeError) as fault:
            faults.append(f"{question.__name__}: {type(fault).__name__}: {fault}")
    assert not faults, "\n".join(faults)


def program(name):
    service, container = services()[name], rendered().container(name)
    image = service["image"]
    if image.startswith("localhost/"):
        image = f"{image.replace('localhost/', 'localhost:32000/').rpartition(':')[0]}:{tag()}"
    assert container["image"] == image
    assert container.get("command") == _words(service.get("entrypoint"))
    assert container.get("args") == _words(service.get("command"))
    if "stop_grace_period" in service:
        grace = rendered().pod(name)["terminationGracePeriodSeconds"]
        assert grace == _seconds(service["stop_grace_period"])


def rights(name):
    service, pod = services()[name], rendered().pod(name)
    container = rendered().container(name)["securityContext"]
    user, group = map(int, service["user"].split(":"))
    assert (container["runAsUser"], container["runAsGroup"]) == (user, group)
    assert container["readOnlyRootFilesystem"] == service["read_only"]
    assert container["capabilities"]["drop"] == service["cap_drop"]
    assert container["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["supplementalGroups"] == [int(number) for number in service["group_add"]]


def environment(name):
    wanted = {key: str(value or "") for key, value in services()[name].get("environment", {}).items()}
    found = {variable["name"]: variable for variable in rendered().container(name).get("env", [])}
    assert set(found) == set(wanted), RUN
    addresses = _addresses()
    for key, value in wanted.items():
        value = addresses[ADDRESSES[key]] if key in ADDRESSES else value.replace("$$", "$")
        assert found[key].get("value", "") == value, key


def ports(name):
    service = services()[name]
    wanted = {_port(text) for text in service.get("ports", []) + service.get("expose", [])}
    if not wanted:
        assert name not in rendered().all("Service")
        return
    assert name in rendered().all("Service"), RUN
    ports = rendered().all("Service")[name]["spec"]["ports"]
    assert {(port["targetPort"], port.get("protocol", "TCP")) for port in ports} == wanted, RUN
    # Callers in the cluster use the container's port: compose's networks have no other.
    assert {(port["port"], port.get("protocol", "TCP")) for port in ports} >= wanted


def volumes(name):
    service = services()[name]
    volumes = {volume["name"]: volume for volume in rendered().pod(name)["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in rendered().container(name)["volumeMounts"]}
    wanted = {}
    for text in service.get("volumes", []):
        source, target, *mode = text.split(":")
        if target == "/etc/grafana/dashboards":  # file by file, in the cluster
            files = {f"{target}/{file.name}": file.name for file in (REPOSITORY / source).glob("*.json")}
            wanted |= files
            found = {
                path: mount["subPath"] for path, mount in mounts.items() if path.startswith(f"{target}/")
            }
            assert found == files, "k8s-export/lab/patches/services.yaml names each dashboard"
            target = min(files)
        else:
            wanted[target] = source
        assert target in mounts, RUN
        mount, volume = mounts[target], volumes[mounts[target]["name"]]
        assert mount.get("readOnly", False) == ("ro" in mode)
        if source.startswith("secrets-"):
            assert volume["secret"] == {"secretName": source, "defaultMode": 0o440}
        elif source in PRIVATE_VOLUMES:
            assert volume["emptyDir"]["sizeLimit"]
        elif source in OPTIONAL_FOLDERS:
            assert volume["configMap"] == {"name": source.removeprefix("./"), "optional": True}
        elif source.startswith("."):
            same_files(source, mount, volume["configMap"])
        else:
            assert volume["persistentVolumeClaim"]["claimName"] == source
            claim = rendered().all("PersistentVolumeClaim")[source]["spec"]
            size = compose()["volumes"][source]["labels"]["kompose.volume.size"]
            assert claim["resources"]["requests"]["storage"] == size, RUN
    for text in service.get("tmpfs", []):
        target = text.split(":")[0]
        wanted[target] = "tmpfs"
        assert volumes[mounts[target]["name"]]["emptyDir"] == {"medium": "Memory"}
    assert set(mounts) == set(wanted), RUN


def same_files(source, mount, volume):
    """The mounted ConfigMap holds the files of the folder, or the one file, that compose mounts."""
    config_map = rendered().all("ConfigMap")[volume["name"]]
    assert "binaryData" not in config_map
    path = REPOSITORY / source
    if path.is_file():
        assert mount["subPath"] == volume["items"][0]["path"] == path.name
        folder, wanted = path.parent, {path.name}
    else:
        folder, wanted = path, _files(path)
    listed = set(config_map["data"])
    if source == "./use_cases" and wanted - listed:
        # A new use case must not need anything else: it trains here without the cluster.
        names = ", ".join(sorted(wanted - listed))
        warnings.warn(f"the cluster does not have {names} yet: {LIST}, or `make k8s-tag`", stacklevel=2)
        wanted &= listed
    assert listed == wanted, f"{source}: {LIST}"
    for file in wanted:
        assert config_map["data"][file] == (folder / file).read_text(), f"{source}/{file}"


def health_check(name):
    container, check = rendered().container(name), services()[name].get("healthcheck")
    if services()[name]["restart"] == "no":
        assert not [key for key in container if key.endswith("Probe")]
        return
    probe = container["livenessProbe"]
    assert probe["exec"]["command"] == [word.replace("$$", "$") for word in check["test"][1:]]
    assert probe["periodSeconds"] == _seconds(check["interval"])
    assert probe["timeoutSeconds"] == _seconds(check["timeout"])
    assert probe["failureThreshold"] == check["retries"]
    startup = container["startupProbe"]
    assert startup["exec"] == probe["exec"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= _seconds(check["start_period"])
    if name in rendered().all("Service"):
        readiness = container["readinessProbe"]
        assert readiness["timeoutSeconds"] > 1
        labels = services()[name]["labels"]
        path = labels.get("kompose.service.healthcheck.readiness.http_get_path")
        assert readiness.get("httpGet", {}).get("path") == path


def limits(name):
    wanted, found = services()[name]["deploy"]["resources"], rendered().container(name)["resources"]
    assert int(found["limits"]["memory"]) == _bytes(wanted["limits"]["memory"])
    assert cores(found["limits"]["cpu"]) == pytest.approx(float(wanted["limits"]["cpus"]))
    assert int(found["requests"]["memory"]) == _bytes(wanted["reservations"]["memory"])
    assert cores(found["requests"]["cpu"]) == pytest.approx(float(wanted["reservations"]["cpus"]))


def placement(name):
    [constraint] = services()[name]["deploy"]["placement"]["constraints"]
    server = constraint.removeprefix("node.labels.lab-role == ")
    pod = rendered().pod(name)
    has_data = any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    affinity = pod["affinity"]["nodeAffinity"]
    if has_data:
        [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    else:
        assert "requiredDuringSchedulingIgnoredDuringExecution" not in affinity, (
            f"{name} has no data on a node: add it to the movable ones in k8s-export/lab/kustomization.yaml"
        )
        term = affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["preference"]
        assert {toleration["tolerationSeconds"] for toleration in pod["tolerations"]} == {30}
    assert term["matchExpressions"] == [{"key": "lab-role", "operator": "In", "values": [server]}]
    if services()[name]["restart"] != "no":
        strategy = rendered().workloads[name]["spec"]["strategy"]["type"]
        assert strategy == ("Recreate" if has_data else "RollingUpdate")


def networks(name):
    prefix = f"io.kompose.network/{compose()['name']}-"
    found = {
        label.removeprefix(prefix): value
        for label, value in rendered().labels(name).items()
        if label.startswith(prefix)
    }
    assert found == dict.fromkeys(services()[name]["networks"], "true"), RUN


def test_every_volume_claim_is_used():
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for name in in_cluster()
        for volume in rendered().pod(name)["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert set(rendered().all("PersistentVolumeClaim")) == used


def test_config_maps_that_may_change_while_pods_run_keep_their_names():
    """A new use case or DAG restarts nothing; a changed rule or dashboard restarts the pod that reads it."""
    names = set(rendered().all("ConfigMap"))
    fixed = {"dags", "use-cases", "mysql-accounts", "postgres-accounts"}
    assert fixed <= names
    hashed = {name.rpartition("-")[0] for name in names - fixed if len(name.rpartition("-")[2]) == 10}
    assert len(hashed) == len(names - fixed)
    assert {"alertmanager", "grafana-dashboards", "prometheus", "prometheus-rules"} <= hashed
    for name in ("airflow-init", "airflow-dag-processor", "airflow-worker", "notebooks"):
        mounts = {mount["mountPath"]: mount["name"] for mount in rendered().container(name)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in rendered().pod(name)["volumes"]}
        assert volumes[mounts["/opt/lab/use_cases"]]["configMap"]["name"] == "use-cases"


def _files(folder) -> set[str]:
    """The names of the folder's own files that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "."]
    names = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    return {
        name
        for name in names.stdout.split()
        if "/" not in name and name != "kustomization.yaml" and (folder / name).exists()
    }


def _addresses() -> dict[str, str]:
    return yaml.safe_load((EXPORT / "lab" / "addresses.yaml").read_text())["data"]


def _words(command: list[str] | None) -> list[str] | None:
    return [word.replace("$$", "$") for word in command] if command else None


def _port(text: str) -> tuple[int, str]:
    """The container's port and protocol, of `127.0.0.1:8082:3306`, `3306` or `9125/udp`."""
    port, _, protocol = text.rsplit(":", 1)[-1].partition("/")
    return int(port), protocol.upper() or "TCP"


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def _bytes(size: str) -> int:
    return int(float(size[:-1]) * {"M": 2**20, "G": 2**30}[size[-1]])
