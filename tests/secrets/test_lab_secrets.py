"""The script that makes the stack's secrets, run unchanged on a temporary folder."""

import base64
import hashlib
import re
import stat
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from inference.settings import InferenceSettings
from mlops_lab.model import signing
from mlops_lab.settings import REPOSITORY
from tests.support.lab_secrets import PAGES, READERS, make_volumes, run

pytestmark = pytest.mark.process


@pytest.fixture
def volumes(tmp_path) -> Path:
    make_volumes(tmp_path)
    return tmp_path


def contents(volumes: Path) -> dict[str, str]:
    return {str(path.relative_to(volumes)): path.read_text() for path in volumes.rglob("*") if path.is_file()}


def test_every_reader_gets_files_that_only_it_and_its_group_read(volumes):
    assert {path.parent.name for path in volumes.rglob("*") if path.is_file()} == set(READERS) - PAGES
    assert {stat.S_IMODE(path.stat().st_mode) for path in volumes.rglob("*") if path.is_file()} == {0o440}


def test_readers_and_servers_hold_the_same_passwords(volumes):
    files = contents(volumes)
    assert f":{files['mysql-init/predictions-password']}@mysql" in files["inference/lab_prediction_db_url"]
    assert f":{files['postgres-init/airflow-password']}@postgres" in files["airflow-worker/db-url"]
    broker = re.search(r":([^:@]+)@redis", files["airflow-worker/broker-url"])[1]
    assert f"user airflow on #{hashlib.sha256(broker.encode()).hexdigest()} " in files["redis/users.acl"]
    # A scoring's query is run by the account that can only read.
    assert (
        f"//reader:{files['mysql-init/reader-password']}@mysql" in files["airflow-worker/lab_reader_db_url"]
    )
    assert files["minio/root-password"] == files["buckets-init/secret-key"]
    assert files["inference/lab_reload_token"] == files["airflow-worker/lab_reload_token"]
    assert len(base64.urlsafe_b64decode(files["airflow-worker/fernet-key"])) == 32
    assert len(files["airflow-worker/jwt-secret"]) >= 64


def test_no_two_secrets_are_alike_and_no_two_labs(volumes, tmp_path):
    values = [value for name, value in contents(volumes).items() if name.startswith("store/") and value]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    other = tmp_path / "other"
    make_volumes(other)
    assert not set(values) & set(contents(other).values())


def test_only_the_worker_can_sign_models_and_a_rotation_keeps_the_public_key_before(volumes):
    before = contents(volumes)
    assert [name for name, value in before.items() if "PRIVATE KEY" in value and "dask" not in name] == [
        "airflow-worker/lab_signing_key",
        "store/signing-key",
    ]
    signature = signing.sign(before["airflow-worker/lab_signing_key"], "houses", "digest")
    for reader in ("airflow-worker", "inference", "notebooks"):
        assert signing.is_signed(before[f"{reader}/lab_verify_keys"], "houses", "digest", signature)
    run(volumes, "rotate")
    after = contents(volumes)
    keys = after["inference/lab_verify_keys"]
    assert signing.is_signed(keys, "houses", "digest", signature)
    newer = signing.sign(after["airflow-worker/lab_signing_key"], "houses", "digest")
    assert signing.is_signed(keys, "houses", "digest", newer)
    assert not signing.is_signed(before["inference/lab_verify_keys"], "houses", "digest", newer)
    run(volumes, "rotate")
    keys = contents(volumes)["inference/lab_verify_keys"]
    assert signing.is_signed(keys, "houses", "digest", newer)
    assert not signing.is_signed(keys, "houses", "digest", signature)


def test_after_an_upgrade_the_worker_signs_for_a_day_what_was_registered_before(volumes):
    """A release that signed nothing has passwords and no key. A new lab, and later starts, sign nothing so."""

    def until() -> float:
        return float(contents(volumes)["airflow-worker/lab_sign_recorded_until"])

    run(volumes, "init")
    assert until() == 0
    for name in ("signing-key", "verify-keys"):
        (volumes / "store" / name).unlink()
    run(volumes, "init")
    assert 0 < until() - time.time() <= 86400
    for command in ("init", "rotate"):
        before = until()
        run(volumes, command)
        assert until() == before


def test_with_api_keys_each_caller_has_one_and_the_service_only_hashes(volumes):
    on = {"LAB_CALLER_KEYS": "yes"}
    before = contents(volumes)
    run(volumes, "init", **on)
    files = contents(volumes)
    accepted = InferenceSettings(api_keys=files["inference/lab_api_keys"]).keys()
    callers = {"airflow-worker", *PAGES}
    assert set(files) - set(before) == {
        "inference/lab_api_keys",
        *(f"{name}/lab_api_key" for name in callers),
        *(f"store/api-key-{name}" for name in (*callers, "people")),
    }
    for name in callers:
        found = accepted.find(files[f"{name}/lab_api_key"])
        assert (found.name, found.rights) == (name, {"predict"})
    [shown] = [
        line.split() for line in run(volumes, "show", **on).splitlines() if line.startswith("Inference")
    ]
    assert shown[1] == "people"
    assert accepted.find(shown[2]).rights == {"predict", "read"}
    keys = {value for name, value in files.items() if name.startswith("store/api-key-")}
    assert not [key for key in keys if key in files["inference/lab_api_keys"]]

    run(volumes, "init", **on)
    assert contents(volumes) == files
    run(volumes, "rotate", **on)
    rotated = InferenceSettings(api_keys=contents(volumes)["inference/lab_api_keys"]).keys()
    assert not [key for key in keys if rotated.find(key)]
    assert rotated.find(contents(volumes)["gradio/lab_api_key"]).name == "gradio"
    # Off again: nothing is required, and the pipeline sends nothing.
    run(volumes, "init")
    assert InferenceSettings(api_keys=contents(volumes)["inference/lab_api_keys"]).keys() is None
    assert not contents(volumes)["airflow-worker/lab_api_key"]


def test_the_file_that_turns_keys_on_mounts_what_the_callers_need():
    """compose merges stack/api-keys.yml into docker-compose.yml."""
    added = yaml.safe_load((REPOSITORY / "stack" / "api-keys.yml").read_text())["services"]
    assert added.pop("secrets-init") == {
        "environment": {"LAB_CALLER_KEYS": "yes"},
        "volumes": [f"secrets-{page}:/secrets/{page}" for page in ("streamlit", "gradio", "locust")],
    }
    assert set(added) == PAGES
    for page, service in added.items():
        assert service["volumes"] == [f"secrets-{page}:/secrets:ro"]
        assert service["environment"] == {"LAB_SECRETS_DIR": "/secrets"}
        assert service["depends_on"] == {"secrets-init": {"condition": "service_completed_successfully"}}
    mounted = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    for service in ("inference", "airflow-worker"):
        assert f"secrets-{service}:/secrets:ro" in mounted[service]["volumes"]


def test_a_later_start_changes_nothing(volumes):
    before = {path: path.stat().st_mtime_ns for path in volumes.rglob("*")}
    run(volumes, "init")
    assert {path: path.stat().st_mtime_ns for path in volumes.rglob("*")} == before


def test_a_reader_that_lost_its_volume_gets_the_same_again(volumes):
    before = contents(volumes)
    for path in (volumes / "mlflow").iterdir():
        path.unlink()
    run(volumes, "init")
    assert contents(volumes) == before


def test_the_keys_of_a_store_that_a_person_has_are_handed_out_and_not_stored(volumes):
    before = contents(volumes)
    given = {"LAB_S3_ACCESS_KEY": "their-key", "LAB_S3_SECRET_KEY": "their+secret/key="}
    run(volumes, "init", **given)
    files = contents(volumes)
    assert {files[f"airflow-{name}/lab_s3_access_key"] for name in ("init", "worker")} == {"their-key"}
    assert (
        files["airflow-worker/lab_s3_secret_key"] == files["buckets-init/secret-key"] == "their+secret/key="
    )
    assert files["mlflow/aws-credentials"].endswith("= their-key\naws_secret_access_key = their+secret/key=")
    # No account is made there.
    assert files["buckets-init/mlflow-secret-key"] == files["buckets-init/pipeline-secret-key"] == ""
    assert not any("their" in value for name, value in files.items() if name.startswith("store/"))

    run(volumes, "init", **given, LAB_MLFLOW_S3_ACCESS_KEY="other-key", LAB_MLFLOW_S3_SECRET_KEY="other")
    assert "other-key" in contents(volumes)["mlflow/aws-credentials"]
    assert contents(volumes)["airflow-worker/lab_s3_access_key"] == "their-key"
    run(volumes, "init")
    assert contents(volumes) == before
    with pytest.raises(subprocess.CalledProcessError) as fault:
        run(volumes, "init", LAB_S3_ACCESS_KEY="their-key")
    assert fault.value.stderr.splitlines() == [
        "lab-secrets: LAB_S3_ACCESS_KEY has no LAB_S3_SECRET_KEY; docs/scale.md (Object stores) names both"
    ]


def test_rotation_changes_all_and_keeps_the_passwords_that_servers_still_have(volumes):
    roots, fernet = [contents(volumes)["mysql/root-password"]], contents(volumes)["airflow-init/fernet-key"]
    before = contents(volumes)
    for _ in range(2):
        run(volumes, "rotate")
        roots.append(contents(volumes)["mysql/root-password"])
    after = contents(volumes)
    fixed = {
        "minio/root-user",
        "buckets-init/access-key",
        "airflow-worker/lab_sign_recorded_until",
        "airflow-init/lab_s3_access_key",
        "airflow-worker/lab_s3_access_key",
        "dask-worker/lab_s3_access_key",
        # A person's, and not set here.
        "airflow-worker/lab_notify_url",
        "alertmanager/notify-secret",
        "alertmanager/receiver.yml",
    }
    assert {name for name, value in after.items() if before[name] == value} == fixed
    assert after["mysql-init/root-password.previous"].split() == roots[-2::-1]
    first, second = after["airflow-init/fernet-key"].split(",")
    assert first != second != fernet
    run(volumes, "rotate")
    assert contents(volumes)["airflow-init/fernet-key"].split(",")[1] == first


def test_logins_are_shown_for_people(volumes):
    shown = run(volumes, "show")
    files = contents(volumes)
    assert files["airflow-init/admin-password"] in shown
    assert files["grafana/admin-password"] in shown
    assert files["mysql/root-password"] not in shown


def test_before_the_first_start_there_is_nothing_to_show(tmp_path):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(tmp_path, "show")
    assert failed.value.stderr.splitlines() == [
        "lab-secrets: there are no secrets yet; the first start of the stack creates them"
    ]


def people(volumes: Path, url: str) -> dict:
    """Alertmanager's receiver for this LAB_NOTIFY_URL, from the configuration as its container puts it together."""
    assert run(volumes, "init", url).startswith("lab-secrets: init done\n")
    base = (REPOSITORY / "observability" / "alertmanager" / "alertmanager.yml").read_text()
    made = yaml.safe_load(base + (volumes / "alertmanager" / "receiver.yml").read_text())
    [nobody, receiver] = made["receivers"]
    # The alert that always fires is sent to nobody.
    watchdog = made["route"]["routes"][0]
    assert (watchdog["matchers"], watchdog["receiver"]) == (['alertname = "Watchdog"'], nobody["name"])
    assert nobody == {"name": "nobody"}
    assert (volumes / "airflow-worker" / "lab_notify_url").read_text() == url
    return receiver


def test_alerts_go_where_the_one_url_says(volumes):
    assert people(volumes, "") == {"name": "people"}
    secret = volumes / "alertmanager" / "notify-secret"

    [hook] = people(volumes, "https://example.org/hook?token=it's")["webhook_configs"]
    assert hook == {"url_file": "/secrets/notify-secret", "send_resolved": True, "timeout": "10s"}
    assert secret.read_text() == "https://example.org/hook?token=it's"

    [slack] = people(volumes, "slack+http://chat:8065/hooks/x")["slack_configs"]
    assert slack["api_url_file"] == "/secrets/notify-secret"
    assert secret.read_text() == "http://chat:8065/hooks/x"
    for part in ("severity", "summary", "runbook_url"):
        assert f".{part} " in slack["text"]
    assert "slack_configs" in people(volumes, "https://hooks.slack.com/services/T/B/x")

    url = "smtp://me%40x.org:p%25a:s%27s@post:2525/?to=a@x.org&from=o%27lab@x.org&to=b@x.org"
    [mail] = people(volumes, url)["email_configs"]
    assert (mail["smarthost"], mail["from"], mail["to"]) == ("post:2525", "o'lab@x.org", "a@x.org,b@x.org")
    assert (mail["auth_username"], mail["require_tls"], mail["force_implicit_tls"]) == (
        "me@x.org",
        True,
        False,
    )
    assert secret.read_text() == "p%a:s's"

    [mail] = people(volumes, "smtps://post/?to=a@x.org&from=lab@x.org")["email_configs"]
    assert (mail["smarthost"], mail["force_implicit_tls"]) == ("post:465", True)
    assert "auth_username" not in mail


@pytest.mark.parametrize("url", ["ftp://T0KEN", "smtp://me:T0KEN@post"])
def test_a_url_of_no_known_form_is_one_line_without_it_and_ends_the_start(volumes, url):
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(volumes, "init", url)
    [line] = (failed.value.stdout + failed.value.stderr).splitlines()
    assert line.startswith("lab-secrets: LAB_NOTIFY_URL has no known form;")
    assert "T0KEN" not in line
