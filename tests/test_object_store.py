"""Any store of the S3 API: SeaweedFS instead of MinIO, for the lab's bucket and for MLflow's."""

from collections.abc import Iterator

import pytest
import yaml

from mlops_lab.data.artifacts import S3, ArtifactError, Artifacts
from mlops_lab.data.states import CLOSED
from mlops_lab.errors import LabError
from mlops_lab.lab import Lab
from mlops_lab.local.processes import Supervisor
from mlops_lab.loop import run_batch
from mlops_lab.settings import REPOSITORY, Settings, SettingsError
from mlops_lab.steps.ingest import land
from tests.support.data_api import END
from tests.support.flats import batch, flats
from tests.support.http_server import Handler, Server
from tests.support.processes import stack_mlflow, started
from tests.support.s3 import BUCKETS, Store, full, make_buckets

on_the_store = [pytest.mark.process, pytest.mark.xdist_group("object store")]
BUCKET = f"s3://{BUCKETS['pipeline']}"


def marked(test):
    for mark in on_the_store:
        test = mark(test)
    return test


@marked
def test_a_store_with_its_own_certificate_and_one_with_the_bucket_in_its_host(s3_store):
    whole = Artifacts(BUCKET, s3_store.s3())
    host = f"http://localhost:{s3_store.ports['s3.port']}"
    for other in (
        {"endpoint": s3_store.tls_url, "ca": s3_store.ca},
        {"endpoint": host, "virtual_host": True},
    ):
        there = Artifacts(BUCKET, s3_store.s3(**other))
        there.put("ways/one", str(other).encode())
        assert whole.get("ways/one") == str(other).encode()


@pytest.mark.parametrize(
    ("virtual_host", "host", "path"),
    [(False, "localhost", "/api-artifacts/one"), (True, "api-artifacts.localhost", "/one")],
)
def test_where_the_name_of_the_bucket_stands(virtual_host, host, path):
    asked = []

    class Absent(Handler):
        def do_HEAD(self):
            asked.append((self.headers["Host"].partition(":")[0], self.path))
            self.send_error(404)

    with Server(Absent) as server:
        s3 = S3(
            f"http://localhost:{server.server_port}",
            access_key="a",
            secret_key="b",
            virtual_host=virtual_host,
        )
        with pytest.raises(ArtifactError, match="can't read one"):
            Artifacts(BUCKET, s3).get("one")
    assert asked[0] == (host, path)


@marked
@pytest.mark.parametrize(
    ("other", "advice"),
    [
        ({"secret_key": "not-the-secret-key"}, "check LAB_S3_ACCESS_KEY and LAB_S3_SECRET_KEY"),
        ({"access_key": "nobody"}, "check LAB_S3_ACCESS_KEY and LAB_S3_SECRET_KEY"),
        ({"account": "mlflow"}, "what they may do in the bucket"),
        ({"account": "root", "bucket": "s3://absent"}, "make the bucket, or check LAB_ARTIFACTS_URL"),
        ({"endpoint": "http://127.0.0.1:9"}, "or check LAB_S3_ENDPOINT"),
        ({"endpoint": "tls"}, "check LAB_S3_CA"),
    ],
)
def test_what_a_store_refuses_is_one_line_with_what_to_do(s3_store, other, advice):
    other = dict(other)
    bucket = other.pop("bucket", BUCKET)
    if other.get("endpoint") == "tls":
        other["endpoint"] = s3_store.tls_url
    store = Artifacts(bucket, s3_store.s3(**other))
    with pytest.raises(ArtifactError, match=advice) as fault:
        store.check_room("payloads/flats", 1000)
    assert "\n" not in str(fault.value)
    assert "free disk space" not in str(fault.value)


@marked
def test_the_one_shot_makes_what_is_missing_and_says_what_it_can_not(s3_store, tmp_path):
    root = s3_store.keys("root")
    again = make_buckets(s3_store, tmp_path / "secrets", root)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines() == [
        "buckets: mlflows3 is ready",
        "buckets: api-artifacts is ready",
        "buckets: no accounts were made, because the store isn't the stack's MinIO: it has its own",
    ]
    new = {"LAB_ARTIFACTS_URL": "s3://another-one", "LAB_S3_REGION": "eu-central-1"}
    made = make_buckets(s3_store, tmp_path / "secrets", root, **new)
    assert made.returncode == 0, made.stderr
    Artifacts("s3://another-one", s3_store.s3("root")).put("one", b"1")

    for keys, more in ((("nobody", "no-key"), {}), (root, {"LAB_S3_ENDPOINT": s3_store.tls_url})):
        failed = make_buckets(s3_store, tmp_path / "secrets", keys, **more)
        assert failed.returncode == 1
        assert len(failed.stderr.splitlines()) == 1
        assert "check LAB_S3_ENDPOINT, LAB_S3_REGION, LAB_S3_CA and the keys" in failed.stderr


class Compose(yaml.SafeLoader):
    """Reads the tags of compose, too."""


Compose.add_constructor("!override", lambda loader, node: loader.construct_mapping(node, deep=True))


def test_each_service_that_uses_the_buckets_is_told_of_another_store():
    stack = yaml.load((REPOSITORY / "docker-compose.yml").read_text(), Compose)["services"]
    other = yaml.load((REPOSITORY / "stack" / "s3.yml").read_text(), Compose)["services"]
    clients = {name for name, service in stack.items() if "LAB_S3_ENDPOINT" in service.get("environment", {})}
    assert clients == {
        name for name, service in other.items() if "LAB_S3_ENDPOINT" in service.get("environment", {})
    }
    ways = {Settings.variable(name) for name in Settings.model_fields if name.startswith("s3_")}
    keys = {"LAB_S3_ACCESS_KEY", "LAB_S3_SECRET_KEY"}
    for name in clients:
        assert ways - keys <= set(other[name]["environment"])
    assert keys <= set(other["secrets-init"]["environment"])
    # None waits for the service that doesn't start.
    waiting = {name for name, service in stack.items() if "minio" in service.get("depends_on", {})}
    assert waiting == {name for name in waiting if "minio" not in other[name].get("depends_on", {"minio": 0})}


def on(lab: Lab, store: Store, **more: str) -> Lab:
    """The same lab with its bucket in the store."""
    same = {name: getattr(lab.settings, name) for name in ("home", "use_cases", "data_api_url")}
    return Lab(Settings(**same, **store.variables(), **more), lab.progress)


@marked
@pytest.mark.fault
def test_a_full_bucket_keeps_the_batch_and_the_next_run_goes_on(lab, course, use_case, s3_store, monkeypatch):
    lab = on(lab, s3_store)
    lab.artifacts.delete("payloads")
    course.will_answer(batch(1, flats(5)), END)
    lab.store.prepare_tables(use_case)
    with full(s3_store, BUCKETS["pipeline"]):
        with pytest.raises(
            ArtifactError, match=r"no batch is requested, .*can't be stored in api-artifacts/payloads"
        ):
            land(lab, use_case)
        assert course.asked == []
        # Filled by others between the try and the reply.
        monkeypatch.setattr(lab.artifacts, "check_room", lambda *_: None)
        for _ in range(2):
            with pytest.raises(ArtifactError, match=r"the batch is kept in .*reply\.json") as fault:
                land(lab, use_case)
        assert "\n" not in str(fault.value)
        assert len(course.asked) == 1
    entry = land(lab, use_case)
    assert (entry.batch_number, entry.source) == (1, "incoming")
    assert lab.artifacts.list("payloads/flats") == [entry.payload]


@pytest.fixture
def served(lab, course, s3_store, tmp_path, templates, monkeypatch) -> Iterator[Lab]:
    """The lab with both its buckets in the store, and MLflow started as the stack starts it."""
    folder = tmp_path / "mlflow"
    process, variables = stack_mlflow(folder, templates)
    access_key, secret_key = s3_store.keys("mlflow")
    (folder / "secrets" / "aws-credentials").write_text(
        f"[default]\naws_access_key_id = {access_key}\naws_secret_access_key = {secret_key}\n"
    )
    variables |= {"LAB_S3_ENDPOINT": s3_store.tls_url, "LAB_S3_CA": str(s3_store.ca)}
    variables |= {"LAB_ARTIFACTS_DESTINATION": f"s3://{BUCKETS['mlflow']}"}
    # A refusal is a refusal the first time.
    variables |= {"AWS_MAX_ATTEMPTS": "1"}
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with Supervisor(folder / "logs", variables) as supervisor:
        started(supervisor, process)
        lab = on(lab, s3_store, mlflow_url=process.url)
        lab.artifacts.delete("payloads")
        yield lab


@marked
@pytest.mark.journey
@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_the_loop_runs_on_another_store_and_goes_on_after_it_was_full(served, course, use_case, s3_store):
    course.will_answer(batch(1, flats(600)), END)
    with full(s3_store, BUCKETS["mlflow"]), pytest.raises(LabError) as fault:
        run_batch(served, use_case)
    assert "\n" not in str(fault.value)
    [entry] = served.ledger.batches("flats")
    assert (entry.batch_number, entry.state in CLOSED) == (1, False)

    assert run_batch(served, use_case).outcome.promoted
    champion = served.champion("flats")
    files = Artifacts(f"s3://{BUCKETS['mlflow']}", s3_store.s3("mlflow"))
    place = served.registry.client.get_run(champion.run_id).info.artifact_uri.removeprefix(
        "mlflow-artifacts:/"
    )
    assert f"{place}/model/contract.json" in files.list(f"{place}/model")
    assert served.predictor(champion).contract.use_case == "flats"
    assert [entry.state for entry in served.ledger.batches("flats")] == ["done"]
    assert len(course.asked) == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"s3_endpoint": "minio:9000"}, "LAB_S3_ENDPOINT: .*must be http://host:port or https://host:port"),
        ({"s3_endpoint": "https://user:secret@store"}, "LAB_S3_ENDPOINT"),
        ({"s3_endpoint": "https://store/bucket"}, "LAB_S3_ENDPOINT"),
        ({"s3_addressing": "host"}, "LAB_S3_ADDRESSING: .*'path' or 'virtual'"),
        ({"s3_ca": "/no/such/file.pem"}, "LAB_S3_CA: .*there is no file /no/such/file.pem"),
    ],
)
def test_a_setting_of_the_store_that_can_not_be_used_is_named(value, text):
    with pytest.raises(SettingsError, match=text) as fault:
        Settings(**value)
    assert "secret" not in str(fault.value)


def test_a_setting_that_compose_leaves_empty_is_none():
    names = ("s3_endpoint", "s3_ca", "s3_access_key", "s3_secret_key")
    settings = Settings(**dict.fromkeys(names, ""))
    assert [getattr(settings, name) for name in names] == [None] * 4
