"""Causes of faults on the booted stack. Those of the network and of the disk need root on this machine."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from mlops_lab.settings import REPOSITORY
from tests.stack.stack import Stack, eventually

PORTS = {
    "mysql": 3306,
    "minio": 9000,
    "mlflow": 5000,
    "redis": 6379,
    "airflow-api-server": 8080,
    "data-api": 8081,
}
PROGRAMS = ("nsenter", "iptables", "mkfs.ext4", "losetup")
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)), reason=f"needs root, and {', '.join(PROGRAMS)}"
)


def kill(stack: Stack, service: str) -> None:
    """SIGKILL to every process of the service, as the kernel does when memory is short. Docker starts it again."""
    before = stack.containers(service)[0]["State"]["StartedAt"]
    stack.run_in(service, "sh", "-c", "kill -9 -1", check=False)
    eventually(lambda: stack.containers(service)[0]["State"]["StartedAt"] != before, f"{service} again", 60)


def kill_with_a_task_taken(stack: Stack, dag: str) -> None:
    """Kills the worker while it holds the next task of the DAG and hasn't begun it."""
    airflow = stack.airflow()
    # A worker that stands still takes two tasks at most; both places may only be taken by this DAG.
    others = [other for other in airflow.active_dags() if other != dag]
    for name in (dag, *others):
        airflow.pause(name)

    def held() -> list[str]:
        return json.loads(stack.run_in("airflow-worker", "python", "-c", _TASKS_AT_THE_BROKER))

    def idle() -> bool:
        # An AssertionError says in the test's report what was still there.
        assert not held()
        return True

    def taken() -> bool:
        tasks = held()
        assert any(task.startswith("taken") and dag in task for task in tasks), tasks
        return True

    try:
        # Between two tasks none is queued for a moment. The scheduler may just be queueing one, which it does for
        # seconds on a busy machine.
        eventually(lambda: idle() and (time.sleep(5) or idle()), "an idle worker", 120, pause=0.5)
        # The processes that would begin the task stand still. The brackets keep the shell from finding itself.
        stop = "for p in /proc/[0-9]*; do if grep -q ForkPool[W]orker $p/cmdline; then kill -STOP ${p#/proc/}; fi; done"
        stack.run_in("airflow-worker", "sh", "-c", stop)
        airflow.unpause(dag)
        eventually(taken, f"a task of {dag} that the worker has taken", 60)
        kill(stack, "airflow-worker")
    finally:
        for name in (dag, *others):
            airflow.unpause(name)


# Prints what Redis keeps of tasks: waiting for a worker, or taken by one and not yet acknowledged. The messages of the
# worker to itself are no tasks.
_TASKS_AT_THE_BROKER = """
import base64, json, redis
broker = redis.from_url(open("/secrets/broker-url").read().strip())
waiting = [("waiting", json.loads(message)) for message in broker.lrange("default", 0, -1)]
taken = [("taken", json.loads(message)[0]) for message in broker.hvals("unacked")]
tasks = [(where, base64.b64decode(message["body"]).decode()) for where, message in waiting + taken]
print(json.dumps([f"{where}: {body[:2000]}" for where, body in tasks if "dag_id" in body]))
"""


def outage(stack: Stack, service: str, seconds: float) -> None:
    stack.compose("stop", "--timeout", "1", service)
    time.sleep(seconds)
    stack.compose("start", service)


def short_of_memory(stack: Stack, service: str) -> None:
    """The service may use no more memory than now, until the kernel has killed one of its processes for that."""
    [container] = stack.containers(service)
    began, before = time.time(), container["HostConfig"]["Memory"]

    def limit(size: int) -> None:
        run("docker", "update", "--memory", str(size), "--memory-swap", str(size), container["Id"])

    def kills() -> str:
        until = ("--since", str(int(began)), "--until", str(int(time.time()) + 1))
        return run(
            "docker", "events", *until, "--filter", "event=oom", "--filter", f"container={container['Id']}"
        )

    limit(int(stack.memory()[f"{service}-1"]) << 20)
    try:
        eventually(kills, f"a process of {service} that the kernel killed", 60, pause=0.2)
    finally:
        limit(before)


def kill_the_engine() -> None:
    """SIGKILL to dockerd, and its start by the Makefile. It stops and starts every container then."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "dockerd":
            os.kill(process.pid, signal.SIGKILL)
    # As an init system does, it tries again: its containerd gives up after 15 s, which many containers can outlast.
    start = ("make", "--silent", "--directory", REPOSITORY, "engine")
    eventually(lambda: run(*start, timeout=120) or True, "the engine's start", 240)


@contextmanager
def wrong_secret(stack: Stack, service: str, file: str) -> Iterator[None]:
    """The service starts with another value in this file of its secrets. Afterwards secrets-init mends the file."""

    def in_secrets_init(*entry: str) -> None:
        stack.compose("run", "--rm", "--no-deps", "--no-TTY", *entry)

    path = f"/secrets/{service}/{file}"
    # A URL keeps its form: only the password changes.
    wrong = f"sed 's/:[^:@]*@/:wrong@/; t; s/.*/wrong/' {path} >{path}.new && mv -f {path}.new {path}"
    in_secrets_init("--entrypoint", "sh", "secrets-init", "-c", wrong)
    stack.compose("restart", service)
    try:
        yield
    finally:
        in_secrets_init("secrets-init")
        stack.compose("restart", service)


# The network


def in_network_of(stack: Stack, service: str, *command: str) -> list[str]:
    """The command line that runs this machine's program in the network of the service's container."""
    return ["nsenter", "--target", str(stack.containers(service)[0]["State"]["Pid"]), "--net", *command]


@contextmanager
def rule(stack: Stack, service: str, table: str, *rule: str) -> Iterator[None]:
    """A rule of the packet filter for what the service's container sends, in this block."""
    command = in_network_of(stack, service, "iptables", "--wait", "--table", table)
    run(*command, "--append", "OUTPUT", "--protocol", "tcp", *rule)
    try:
        yield
        newest = run(*command, "--verbose", "--list-rules", "OUTPUT").splitlines()[-1]
        # "… -c PACKETS BYTES …"
        assert int(newest.partition(" -c ")[2].split()[0]) > 0, f"the rule met no packet: {newest}"
    finally:
        run(*command, "--delete", "OUTPUT", "--protocol", "tcp", *rule)


def packets_dropped(stack: Stack, service: str, *match: str):
    """Packets from the service's container that match are dropped in this block; the sender gets no answer."""
    return rule(stack, service, "filter", *match, "--jump", "DROP")


@contextmanager
def slow_connections(stack: Stack, service: str, other: str, toxic: dict) -> Iterator[None]:
    """New connections of the service to the other one go through Toxiproxy with this toxic, in this block.

    Toxiproxy runs in the network of the service's container, so nothing else reaches it.
    """
    program = run("go", "-C", Path(__file__).with_name("toxiproxy"), "tool", "-n", "server", timeout=300)
    networks = [set(stack.containers(one)[0]["NetworkSettings"]["Networks"]) for one in (service, other)]
    network = (networks[0] & networks[1]).pop()
    address = stack.containers(other)[0]["NetworkSettings"]["Networks"][network]["IPAddress"]
    proxy = {"name": other, "listen": "127.0.0.1:8666", "upstream": f"{address}:{PORTS[other]}"}

    def ask(path: str, content: dict) -> None:
        curl = in_network_of(
            stack, service, "curl", "--silent", "--fail", "--retry", "20", "--retry-connrefused"
        )
        run(*curl, "--retry-delay", "1", f"127.0.0.1:8474/{path}", "--data", json.dumps(content))

    server = subprocess.Popen(in_network_of(stack, service, program.strip()), stdout=subprocess.DEVNULL)
    try:
        ask("proxies", proxy)
        for stream in ("upstream", "downstream"):
            ask(f"proxies/{other}/toxics", toxic | {"stream": stream})
        # All but Toxiproxy's own connections: it runs as root, which nothing in the container does.
        others = ("--match", "owner", "!", "--uid-owner", "0", "--dport", str(PORTS[other]))
        with rule(stack, service, "nat", *others, "--jump", "REDIRECT", "--to-ports", "8666"):
            yield
    finally:
        server.terminate()
        server.wait(10)


# The disk


@contextmanager
def small_disk(stack: Stack, volume: str, image: Path, free_mib: int) -> Iterator[Path]:
    """In this block a volume is on a disk of its own with little space. Yields the volume's folder.

    image: a new file for the disk. The services that mount the volume stop and start before and after the block.
    """
    settings = stack.services
    services = [
        service
        for service in stack.running()
        if volume in [mount["source"] for mount in settings[service].get("volumes", [])]
    ]
    [(folder, used)] = [
        (found["folder"], int(found["size"])) for found in stack.volumes() if found["name"] == volume
    ]
    with image.open("wb") as file:
        # The file system itself needs some space, too.
        file.truncate((used * 11 // 10 + free_mib + 32) << 20)
    run("mkfs.ext4", "-q", "-m", "0", image)
    mounted = image.with_suffix(".mounted")
    mounted.mkdir()

    def move(source: Path, target: Path) -> None:
        run("cp", "--archive", f"{source}/.", target, timeout=120)

    stack.compose("stop", "--timeout", "10", *services)
    run("mount", "-o", "loop", image, mounted)
    move(folder, mounted)
    run("umount", mounted)
    run("mount", "-o", "loop", image, folder)
    stack.compose("start", *services)
    try:
        yield folder
    finally:
        stack.compose("stop", "--timeout", "10", *services)
        run("umount", folder)
        run("mount", "-o", "loop", image, mounted)
        shutil.rmtree(mounted / "lost+found", ignore_errors=True)
        run("sh", "-c", f"find {shlex.quote(str(folder))} -mindepth 1 -delete")
        move(mounted, folder)
        run("umount", mounted)
        stack.compose("start", *services)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """A file takes all the free space of the folder's disk in this block, also what becomes free meanwhile."""
    filler, stop = folder / "filler", threading.Event()
    assert shutil.disk_usage(folder).free < 1 << 30, f"{folder} is on a disk that others need, too"

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            while not stop.wait(0.1):
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    continue

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        eventually(lambda: shutil.disk_usage(folder).free < 4096, "a full disk", 60, pause=0.1)
        yield
    finally:
        stop.set()
        thread.join()
        filler.unlink()


def run(*command: object, timeout: float = 60, check: bool = True) -> str:
    """The command's output. Raises AssertionError with its messages when it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False
    )
    assert not check or done.returncode == 0, f"{command}: {(done.stdout + done.stderr)[-2000:]}"
    return done.stdout
