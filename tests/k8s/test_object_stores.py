"""The overlay for another store of the S3 API: no MinIO, and each client of the buckets is told of the store."""

from tests.k8s.export import EXPORT, rendered, services


def test_the_overlay_has_no_minio_and_tells_each_client_of_the_store():
    left, whole = rendered(EXPORT / "overlays" / "s3"), rendered()
    gone = {(found["kind"], found["metadata"]["name"]) for found in whole.objects}
    gone -= {(found["kind"], found["metadata"]["name"]) for found in left.objects}
    assert gone == {
        ("Deployment", "minio"),
        ("Service", "minio"),
        ("PersistentVolumeClaim", "minio-data"),
        ("Service", "minio-console-node-port"),
        ("NetworkPolicy", "minio-console-node-port"),
    }
    store = left.all("ConfigMap")["store"]["data"]
    clients = {
        name for name, service in services().items() if "LAB_S3_ENDPOINT" in service.get("environment", {})
    }
    assert clients == {name for name in left.workloads if "envFrom" in left.container(name)}
    for name in clients:
        assert left.container(name)["envFrom"] == [{"configMapRef": {"name": "store"}}]
        # Its own variables win over those of the ConfigMap.
        own = {entry["name"]: entry.get("value") for entry in left.container(name)["env"]}
        assert {own.get(variable, value) for variable, value in store.items()} == set(store.values())
    [scraped] = [
        volume for volume in left.pod("prometheus")["volumes"] if volume["name"] == "prometheus-stores"
    ]
    assert scraped == {"name": "prometheus-stores", "emptyDir": {}}
