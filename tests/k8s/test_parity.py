"""The manifests say what the compose file says: every service, port, volume, variable, secret, check, limit, network.

What differs on purpose stands in this file's tables, with the reason; anything else is a failure that
`make k8s-export` mends, or the kustomization.
"""

import filecmp
import hashlib
import re
import shutil
import subprocess

import pytest

from tests.k8s.export import COMPOSE_FILES, EXPORT, REPOSITORY, compose, rendered, services

# Made by `make k8s-secrets` instead of a service that may write secrets in the cluster.
OUTSIDE = {"secrets-init"}
# One volume for all would nail Airflow to one node, or give two replicas one spool.
PRIVATE_VOLUMES = {"airflow-logs", "inference-data"}
ENVIRONMENT = {
    # a pod's name is no address
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "airflow.utils.net.get_host_ip_address",
    # addresses are the cluster's, in k8s-export/addresses.yaml
    "AIRFLOW__API__BASE_URL": None,
    "LAB_AIRFLOW_URL": None,
    "LAB_INFERENCE_PUBLIC_URL": None,
    "LAB_MLFLOW_PUBLIC_URL": None,
    "LAB_ALERTMANAGER_PUBLIC_URL": None,
    "LAB_GRAFANA_PUBLIC_URL": None,
    "LAB_PROMETHEUS_PUBLIC_URL": None,
    "MLFLOW_SERVER_ALLOWED_HOSTS": None,
    # MLflow's other pages ask for a login
    "LAB_EXPORTER_PROBES": '{"mlflow": "http://mlflow:5000/health", "streamlit": "http://streamlit:8086/_stcore/health"}',
    # the roll-out asks every replica
    ("airflow-worker", "LAB_INFERENCE_URL"): "http://inference-replicas:8085",
}
# Started by profile, and by hand in the cluster, too.
OFF = {"locust", "notebooks"}
# MLflow asks for a login, so whoever reads it has one; these have no secret in compose.
LOGINS = {"streamlit"}
PROBED_OTHERWISE = {"mlflow"}
NODE_PORTS = {
    "airflow-api-server": (8080, 30080),
    "mlflow": (5000, 30500),
    "inference": (8085, 30800),
    "streamlit": (8086, 30860),
    "gradio": (8087, 30850),
    "notebooks": (8088, 30880),
    "minio": (9001, 30901),
    "prometheus": (9090, 30910),
    "grafana": (3000, 30300),
}
RUN = "a compose file has changed: run `make k8s-export`"

IN_CLUSTER = sorted(set(services()) - OUTSIDE)
each_service = pytest.mark.parametrize("name", IN_CLUSTER)


def test_recorded_digest_is_that_of_both_compose_files():
    both = b"".join(file.read_bytes() for file in COMPOSE_FILES)
    recorded = re.search(r"sha256:(\w{64})", (EXPORT / "base" / "kustomization.yaml").read_text())[1]
    assert recorded == hashlib.sha256(both).hexdigest(), RUN


def test_kompose_still_makes_what_is_committed(tmp_path):
    if not shutil.which("go"):
        pytest.skip("no Go here: kompose can't be built")
    tool = ["go", "-C", str(EXPORT / "kompose"), "tool", "-n", "kompose"]
    built = subprocess.run(tool, capture_output=True, text=True, timeout=280, check=False)
    if built.returncode:
        pytest.skip(f"kompose can't be built here: {built.stderr.strip().splitlines()[-1:]}")
    subprocess.run([EXPORT / "generate", tmp_path], timeout=60, check=True)
    made, kept = ({path.name for path in folder.iterdir()} for folder in (tmp_path, EXPORT / "base"))
    assert made == kept, RUN
    _, changed, broken = filecmp.cmpfiles(tmp_path, EXPORT / "base", made, shallow=False)
    assert not changed + broken, RUN


def test_every_service_has_its_workload():
    jobs = {name for name in IN_CLUSTER if services()[name]["restart"] == "no"}
    assert set(rendered().all("Job")) == jobs
    assert set(rendered().all("Deployment")) == set(IN_CLUSTER) - jobs
    assert not rendered().all("Pod")


def test_what_is_off_stands_at_no_replica():
    found = {name: found["spec"].get("replicas") for name, found in rendered().all("Deployment").items()}
    assert found.pop("inference") is None, "the autoscaler says how many"
    assert found == {name: 0 if name in OFF else 1 for name in found}
    assert all("profiles" in services()[name] for name in OFF)


@each_service
def test_program(name):
    service, container = services()[name], rendered().container(name)
    assert container["image"] == service["image"].replace("localhost/", "localhost:32000/")
    assert container.get("command") == _words(service.get("entrypoint"))
    assert container.get("args") == _words(service.get("command"))
    if "stop_grace_period" in service:
        grace = rendered().pod(name)["terminationGracePeriodSeconds"]
        assert grace == _seconds(service["stop_grace_period"])


@each_service
def test_rights(name):
    service, pod = services()[name], rendered().pod(name)
    container = rendered().container(name)["securityContext"]
    user, group = map(int, service["user"].split(":"))
    assert (container["runAsUser"], container["runAsGroup"]) == (user, group)
    assert container["readOnlyRootFilesystem"] == service["read_only"]
    assert container["capabilities"]["drop"] == service["cap_drop"]
    assert container["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["supplementalGroups"] == [int(number) for number in service["group_add"]]


@each_service
def test_environment(name):
    wanted = {key: str(value or "") for key, value in services()[name].get("environment", {}).items()}
    wanted |= {"LAB_SECRETS_DIR": "/secrets"} if name in LOGINS else {}
    found = {variable["name"]: variable for variable in rendered().container(name).get("env", [])}
    assert set(found) == set(wanted), RUN
    for key, value in wanted.items():
        value = ENVIRONMENT.get((name, key), ENVIRONMENT.get(key, value))
        if value is None:
            reference = found[key]["valueFrom"]["configMapKeyRef"]
            assert rendered().all("ConfigMap")[reference["name"]]["data"][reference["key"]]
        else:
            assert found[key].get("value", "") == value.replace("$$", "$"), key


@each_service
def test_ports(name):
    service = services()[name]
    wanted = {_port(text) for text in service.get("ports", []) + service.get("expose", [])}
    if not wanted:
        assert name not in rendered().all("Service")
        return
    assert name in rendered().all("Service"), RUN
    ports = rendered().all("Service")[name]["spec"]["ports"]
    assert {(port["targetPort"], port.get("protocol", "TCP")) for port in ports} == wanted, RUN
    # Whoever is in the cluster calls the container's port: compose's networks know no other.
    assert {(port["port"], port.get("protocol", "TCP")) for port in ports} >= wanted


@each_service
def test_volumes(name):
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
        elif source.startswith("."):
            _same_files(source, mount, volume)
        else:
            assert volume["persistentVolumeClaim"]["claimName"] == source
            claim = rendered().all("PersistentVolumeClaim")[source]["spec"]
            size = compose()["volumes"][source]["labels"]["kompose.volume.size"]
            assert claim["resources"]["requests"]["storage"] == size, RUN
    for text in service.get("tmpfs", []):
        target = text.split(":")[0]
        wanted[target] = "tmpfs"
        assert volumes[mounts[target]["name"]]["emptyDir"] == {"medium": "Memory"}
    if name in LOGINS:
        wanted["/secrets"] = f"secrets-{name}"
        assert volumes[mounts["/secrets"]["name"]]["secret"]["secretName"] == f"secrets-{name}"
    assert set(mounts) == set(wanted), RUN


def test_no_claim_is_without_a_user():
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for name in IN_CLUSTER
        for volume in rendered().pod(name)["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert set(rendered().all("PersistentVolumeClaim")) == used


@each_service
def test_health_check(name):
    container, check = rendered().container(name), services()[name].get("healthcheck")
    if services()[name]["restart"] == "no":
        assert not [key for key in container if key.endswith("Probe")]
        return
    probe = container["livenessProbe"]
    if name not in PROBED_OTHERWISE:
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


@each_service
def test_limits(name):
    wanted, found = services()[name]["deploy"]["resources"], rendered().container(name)["resources"]
    assert int(found["limits"]["memory"]) == _bytes(wanted["limits"]["memory"])
    assert int(found["requests"]["memory"]) == _bytes(wanted["reservations"]["memory"])
    assert _cores(found["requests"]["cpu"]) == pytest.approx(float(wanted["reservations"]["cpus"]))


@each_service
def test_placement(name):
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


@each_service
def test_networks(name):
    prefix = f"io.kompose.network/{compose()['name']}-"
    found = {
        label.removeprefix(prefix): value
        for label, value in rendered().labels(name).items()
        if label.startswith(prefix)
    }
    assert found == dict.fromkeys(services()[name]["networks"], "true"), RUN


def test_each_network_is_a_policy_and_nothing_else_is_let_in():
    used = {network for name in IN_CLUSTER for network in services()[name]["networks"]}
    policies = rendered().all("NetworkPolicy")
    doors = {"nobody-else"}
    for network in used:
        own = {"matchLabels": {f"io.kompose.network/{compose()['name']}-{network}": "true"}}
        assert policies[f"{compose()['name']}-{network}"]["spec"] == {
            "podSelector": own,
            "ingress": [{"from": [{"podSelector": own}]}],
        }
        doors.add(f"{compose()['name']}-{network}")
    for name, (port, _) in _node_ports().items():
        [door] = [
            policy
            for policy in policies.values()
            if policy["spec"]["podSelector"].get("matchLabels") == {"io.kompose.service": name}
        ]
        assert door["spec"]["ingress"] == [{"ports": [{"port": port}]}]
        doors.add(door["metadata"]["name"])
    ingress = {
        name for name, policy in policies.items() if "Egress" not in policy["spec"].get("policyTypes", [])
    }
    assert ingress == doors
    assert policies["nobody-else"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_whoever_is_on_internal_networks_alone_has_no_way_out():
    internal = {
        network for network, values in compose()["networks"].items() if (values or {}).get("internal")
    }
    shut_in = {name for name in IN_CLUSTER if set(services()[name]["networks"]) <= internal}
    policy = rendered().all("NetworkPolicy")["airflow-internal"]["spec"]
    expressions = policy["podSelector"]["matchExpressions"]
    selected = {
        name
        for name in IN_CLUSTER
        if all(
            (entry["key"] in rendered().labels(name)) == (entry["operator"] == "Exists")
            for entry in expressions
        )
    }
    assert selected == shut_in
    assert len(policy["egress"]) == 2


def test_people_reach_each_page_by_its_node_port():
    found = {}
    for service in rendered().all("Service").values():
        if service["spec"].get("type") == "NodePort":
            [port] = service["spec"]["ports"]
            found[service["spec"]["selector"]["io.kompose.service"]] = (port["targetPort"], port["nodePort"])
    assert found == _node_ports()


def test_use_cases_are_one_config_map():
    for name in ("airflow-init", "airflow-dag-processor", "airflow-worker", "notebooks"):
        mounts = {mount["mountPath"]: mount["name"] for mount in rendered().container(name)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in rendered().pod(name)["volumes"]}
        assert volumes[mounts["/opt/lab/use_cases"]]["configMap"]["name"] == "use-cases"


def _node_ports() -> dict[str, tuple[int, int]]:
    return {name: ports for name, ports in NODE_PORTS.items() if name in IN_CLUSTER}


def _same_files(source, mount, volume):
    config_map = rendered().all("ConfigMap")[volume["configMap"]["name"]]
    assert "binaryData" not in config_map
    path = REPOSITORY / source
    if path.is_file():
        assert mount["subPath"] == volume["configMap"]["items"][0]["path"] == path.name
        wanted = {path.name: path}
    else:
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "."]
        names = subprocess.run(listed, cwd=path, capture_output=True, text=True, timeout=30, check=True)
        wanted = {
            file: path / file for file in names.stdout.split() if "/" not in file and (path / file).exists()
        }
    assert set(config_map["data"]) == set(wanted), RUN
    for key, file in wanted.items():
        assert config_map["data"][key] == file.read_text(), (
            f"{file.relative_to(REPOSITORY)}: run `make k8s-export`"
        )


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


def _cores(amount: str) -> float:
    return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)
