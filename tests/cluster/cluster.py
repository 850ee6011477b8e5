"""The lab on a real three-node Kubernetes: runs the commands of docs/cluster.md."""

import json
import os
import shlex
import subprocess
import threading
import time
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import httpx

from mlops_lab.local.airflow_client import AirflowClient
from mlops_lab.settings import REPOSITORY
from tests.k8s.export import rendered
from tests.stack.stack import example_row, served_version

MACHINES = REPOSITORY.parent / "shared" / "cluster"
ROLES = {"vm1": "server1", "vm2": "server2", "vm3": "server3"}
NAMESPACE = "mlops-lab"
SMALL = REPOSITORY / "k8s-export" / "overlays" / "small"
PATIENCE = float(os.environ.get("LAB_TEST_PATIENCE", 1800))  # seconds: the nodes share two cores


class Cluster:
    """Three machines, and the lab on them."""

    def __init__(self) -> None:
        self._applied = 0.0
        script = f". {shlex.quote(str(MACHINES / 'settings.sh'))}; echo $BIN; echo $KUBECONFIG; echo $LAN"
        programs, config, self.lan = self._run("bash", "-c", script).split()
        self.programs = Path(programs)
        self._environment = os.environ | {
            "KUBECONFIG": config,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "KUBECTL": "kubectl",
        }

    @property
    def built(self) -> bool:
        return (self.programs / "kubelet").exists()

    @property
    def running(self) -> bool:
        """Whether its API answers. Files alone are no proof, because those of a killed cluster stay."""
        return self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s", check=False).strip() == "ok"

    @property
    def has_the_lab(self) -> bool:
        return bool(self.get("deployments"))

    def up(self) -> None:
        self.down()  # removes what a killed run left behind
        self._run(MACHINES / "up", timeout=600)

    def label(self) -> None:
        for node, role in ROLES.items():
            self.kubectl("label", "node", node, f"lab-role={role}", "--overwrite")

    def down(self) -> None:
        self._run(MACHINES / "down", timeout=300)

    def stop_node(self, node: str) -> None:
        self._run(MACHINES / "machine", "stop", node)

    def start_node(self, node: str) -> None:
        self._run(MACHINES / "up", node, timeout=300)

    def load(self, image: str, *nodes: str) -> None:
        self._run(MACHINES / "load", image, *nodes, timeout=900)

    def kubectl(self, *command: str | Path, timeout: float = 120, check: bool = True) -> str:
        return self._run("kubectl", *command, timeout=timeout, check=check)

    def lab(self, *command: str | Path, timeout: float = 120, check: bool = True) -> str:
        """`kubectl` in the lab's namespace."""
        return self.kubectl("--namespace", NAMESPACE, *command, timeout=timeout, check=check)

    def get(self, kind: str, *options: str) -> list[dict]:
        return json.loads(self.lab("get", kind, "--output", "json", *options))["items"]

    def apply(self, folder: Path = SMALL) -> None:
        self._applied = time.monotonic()
        self.kubectl("apply", "--server-side", "--force-conflicts", "--kustomize", folder)

    @property
    def seconds_since_apply(self) -> str:
        return f"{time.monotonic() - self._applied:.0f}" if self._applied else "unknown: it ran before"

    def make(self, checkout: Path, target: str, *variables: str, check: bool = True) -> str:
        """What a target of the Makefile prints. check: raises AssertionError when it fails."""
        command = ("make", "--directory", checkout, target, "KUBECTL=kubectl", f"K8S_EXPORT={SMALL}")
        return self._run(*command, *variables, timeout=2 * PATIENCE, check=check)

    def secrets(self, command: str) -> str:
        return self._run(REPOSITORY / "k8s-export" / "secrets", command, timeout=300)

    @cached_property
    def logins(self) -> dict[str, tuple[str, str]]:
        """Service → (user, password)."""
        rows = [line.split() for line in self.secrets("show").splitlines()[1:]]
        return {f"{service} {user}": (user, password) for service, user, password in rows}

    def pods(self, service: str) -> list[dict]:
        """The service's pods that are not being deleted."""
        found = self.get("pods", "--selector", f"io.kompose.service={service}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, service: str) -> list[dict]:
        return [
            pod
            for pod in self.pods(service)
            if {"type": "Ready", "status": "True"}.items()
            <= next((c for c in pod["status"].get("conditions", []) if c["type"] == "Ready"), {}).items()
        ]

    def url(self, node_port: int, node: str = "vm1") -> str:
        return f"http://{self.lan}.1{node[-1]}:{node_port}"

    def airflow(self) -> AirflowClient:
        return AirflowClient(self.url(30080), *self.logins["Airflow admin"])

    def mlflow(self, method: str, path: str, **content) -> dict:
        """What MLflow answers to people's read-only account."""
        url, login = f"{self.url(30500)}/api/2.0/mlflow/{path}", self.logins["MLflow reader"]
        reply = httpx.request(method, url, auth=login, timeout=60, **content)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def memory(self) -> dict[str, int]:
        """Service → bytes in use, as the kubelets measure them every ten seconds; the sum of its pods."""
        found: dict[str, int] = defaultdict(int)
        known = sorted(rendered(SMALL).workloads, key=len)
        for node in ROLES:
            summary = json.loads(self.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary"))
            for pod in summary["pods"]:
                if pod["podRef"]["namespace"] != NAMESPACE:
                    continue
                # A pod's name begins with that of its deployment or job.
                named = [name for name in known if pod["podRef"]["name"].startswith(f"{name}-")]
                found[named[-1]] += pod.get("memory", {}).get("workingSetBytes", 0)
        return found

    @property
    def key(self) -> dict[str, str]:
        """The header with people's API key of the prediction API."""
        return {"Authorization": f"Bearer {self.logins['Inference people'][1]}"}

    def champion(self) -> int | None:
        return served_version(self.url(30800), headers=self.key)

    @cached_property
    def example(self) -> dict:
        return example_row(self.url(30800), self.key)

    def predict(self, node: str = "vm1", path: str = "predict") -> httpx.Response:
        url = f"{self.url(30800, node)}/{path}/housing"
        return httpx.post(url, json=self.example, headers=self.key, timeout=30)

    def sql(self, query: str) -> str:
        """Rows, read by MySQL's own client in its pod with the people's read-only account."""
        user, password = self.logins["MySQL reader"]
        client = f"MYSQL_PWD={password} mysql -h 127.0.0.1 -u {user} -N -B -e {shlex.quote(query)}"
        return self.lab("exec", "deployment/mysql", "--", "sh", "-c", client).strip()

    def _run(self, *command: str | Path, timeout: float = 120, check: bool = True) -> str:
        environment = getattr(self, "_environment", os.environ)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{shlex.join(map(str, command))}:\n{said[-4000:]}"
        return done.stdout if check else said


class Callers:
    """Sends predictions without a pause while the block runs; `failures` holds the failed ones."""

    def __init__(self, cluster: Cluster, count: int = 2, path: str = "predict"):
        self.answered, self.failures = 0, []
        self._cluster, self._path, self._over = cluster, path, threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _call(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            try:
                reply = self._cluster.predict(("vm1", "vm2")[number % 2], self._path)
                if reply.is_success:
                    self.answered += 1
                else:
                    self.failures.append(f"{time.strftime('%H:%M:%S')} {reply.status_code}: {reply.text}")
            except httpx.HTTPError as error:
                self.failures.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
