"""Each network of compose is a network policy. From outside only the node ports are reachable."""

from tests.k8s.export import compose, in_cluster, rendered, services

# Service: the container's port, the port on every node.
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


def test_each_network_is_a_policy_and_nothing_else_is_let_in():
    used = {network for name in in_cluster() for network in services()[name]["networks"]}
    policies = rendered().all("NetworkPolicy")
    doors = {"default-deny"}
    for network in used:
        own = {"matchLabels": {f"io.kompose.network/{compose()['name']}-{network}": "true"}}
        assert policies[f"{compose()['name']}-{network}"]["spec"] == {
            "podSelector": own,
            "ingress": [{"from": [{"podSelector": own}]}],
        }
        doors.add(f"{compose()['name']}-{network}")
    for name, (port, _) in NODE_PORTS.items():
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
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}


def test_a_service_on_internal_networks_alone_has_no_way_out():
    internal = {
        network for network, values in compose()["networks"].items() if (values or {}).get("internal")
    }
    shut_in = {name for name in in_cluster() if set(services()[name]["networks"]) <= internal}
    policy = rendered().all("NetworkPolicy")["airflow-internal"]["spec"]
    expressions = policy["podSelector"]["matchExpressions"]
    selected = {
        name
        for name in in_cluster()
        if all(
            (entry["key"] in rendered().labels(name)) == (entry["operator"] == "Exists")
            for entry in expressions
        )
    }
    assert selected == shut_in
    assert len(policy["egress"]) == 2


def test_each_page_is_reachable_by_its_node_port():
    found = {}
    for service in rendered().all("Service").values():
        if service["spec"].get("type") == "NodePort":
            [port] = service["spec"]["ports"]
            found[service["spec"]["selector"]["io.kompose.service"]] = (port["targetPort"], port["nodePort"])
    assert found == NODE_PORTS
