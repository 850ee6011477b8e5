"""The booted stack: health, hardening, secrets, networks, memory.

The modules of this folder run on one stack, in the order of `ORDER` in conftest.py. A test may use the results of
earlier ones.
"""

import json
import re

import pytest

from tests.stack.stack import PATIENCE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]

ONE_SHOTS = {"secrets-init", "postgres-init", "mysql-init", "buckets-init", "airflow-init"}
GIB = 1024


def test_boots_healthy(stack, record_property):
    states = {}
    for container in stack.containers():
        name, state = container["Config"]["Labels"]["com.docker.compose.service"], container["State"]
        states[name] = f"exited {state['ExitCode']}" if name in ONE_SHOTS else state["Health"]["Status"]
    assert states == {name: "exited 0" if name in ONE_SHOTS else "healthy" for name in stack.services}
    record_property("seconds until healthy", round(stack.boot_seconds))


def test_every_service_is_hardened(stack):
    for container in stack.containers():
        name, config, host = container["Name"], container["Config"], container["HostConfig"]
        assert re.fullmatch(r"[1-9]\d*:\d+", config["User"]), f"{name} runs as {config['User'] or 'root'}"
        assert (host["CapDrop"], host["CapAdd"], host["Privileged"]) == (["ALL"], None, False), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["ReadonlyRootfs"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
        assert host["PidsLimit"] > 0, name
        assert re.search(r":(?!latest$)[^/:]+$", config["Image"]), config["Image"]


def test_listens_on_loopback_alone(stack):
    bound = [
        (container["Name"], binding)
        for container in stack.containers()
        for bindings in container["HostConfig"]["PortBindings"].values()
        for binding in bindings or []
    ]
    by_profile = {stack.ports[name] for name in ("gradio", "notebooks", "locust")}
    assert {int(binding["HostPort"]) for _, binding in bound} == set(stack.ports.values()) - by_profile
    assert {binding["HostIp"] for _, binding in bound} == {"127.0.0.1"}


def test_each_secret_is_mounted_in_its_reader_alone(stack):
    readers: dict[str, set[str]] = {}
    for container in stack.containers():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        for mount in container["Mounts"]:
            assert mount["Type"] == "bind" or mount["Name"].startswith(stack.project), (
                f"{service}: anonymous volume"
            )
            volume = mount.get("Name", "").removeprefix(f"{stack.project}_")
            if volume.startswith("secrets-") and service != "secrets-init":
                assert (mount["Destination"], mount["RW"]) == ("/secrets", False), container["Name"]
                readers.setdefault(volume, set()).add(service)
    assert readers
    assert readers == {f"secrets-{next(iter(names))}": names for names in readers.values()}
    environments = json.dumps([container["Config"]["Env"] for container in stack.containers()])
    for _, password in stack.logins().values():
        assert len(password) == 32
        assert password not in environments


def test_the_page_cannot_reach_the_databases(stack):
    addresses = {
        f"{service}:{port}": address["IPAddress"]
        for service, port in (
            ("postgres", 5432),
            ("redis", 6379),
            ("mysql", 3306),
            ("minio", 9000),
            ("data-api", 8081),
        )
        for address in stack.containers(service)[0]["NetworkSettings"]["Networks"].values()
    }
    program = (
        "import socket, sys\n"
        "for target in sys.argv[1:]:\n"
        "    host, port = target.split(':')\n"
        "    try: socket.create_connection((host, int(port)), 2).close(); print('open', target)\n"
        "    except OSError: print('shut', target)\n"
    )
    targets = [f"{address}:{name.split(':')[1]}" for name, address in addresses.items()]
    said = stack.run_in(
        "streamlit", "python", "-c", program, *targets, *addresses, "mlflow:5000", "inference:8085"
    )
    assert said.count("shut") == len(targets) + len(addresses), said
    assert "open mlflow:5000" in said
    assert "open inference:8085" in said


def test_idles_within_its_memory(stack, record_property):
    used = stack.memory()
    record_property("idle MiB", {name: round(size) for name, size in sorted(used.items())})
    record_property("idle MiB in all", round(sum(used.values())))
    assert sum(used.values()) <= 4.5 * GIB
