"""MLflow as the cluster starts it: nothing without a login; the reader's login reads everything and changes nothing."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from werkzeug.security import check_password_hash

from mlops_lab.lab import Lab
from mlops_lab.local.processes import Supervisor
from mlops_lab.loop import run_batch
from mlops_lab.model.registry import Registry
from mlops_lab.settings import REPOSITORY
from tests.support.data_api import END
from tests.support.flats import batch, flats
from tests.support.processes import stack_mlflow, started

pytestmark = [pytest.mark.journey, pytest.mark.process]

PASSWORDS = {name: f"{name}-password-of-this-test" for name in ("admin", "pipeline", "notebooks", "reader")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def secrets(folder) -> Path:
    return folder / "secrets"


@pytest.fixture(scope="module")
def server(folder, secrets, templates) -> Iterator[str]:
    process, variables = stack_mlflow(folder, templates)
    (secrets / "session-key").write_text("of this test alone")
    for name, password in PASSWORDS.items():
        (secrets / f"{name}-password").write_text(password)
    variables |= {"LAB_ARTIFACTS_DESTINATION": str(folder / "artifacts")}
    variables |= {"LAB_MLFLOW_LOGINS": str(REPOSITORY / "mlflow" / "logins.py")}
    with Supervisor(folder / "logs", variables) as supervisor:
        yield started(supervisor, process).url


def ask(server: str, login: str | None, method: str, path: str, **options) -> httpx.Response:
    auth = (login, PASSWORDS[login]) if login else None
    return httpx.request(method, f"{server}/api/2.0/mlflow/{path}", auth=auth, timeout=60, **options)


def test_each_login_has_only_its_rights(server, monkeypatch):
    assert httpx.get(server, timeout=60).status_code == 401
    assert ask(server, None, "GET", "experiments/get?experiment_id=0").status_code == 401
    wrong = httpx.get(f"{server}/api/2.0/mlflow/experiments/get?experiment_id=0", auth=("admin", "password"))
    assert wrong.status_code == 401

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # what the registry sets goes with the test
    assert Registry(server, "pipeline", PASSWORDS["pipeline"]).by_alias("housing", "champion") is None
    made = ask(server, "pipeline", "POST", "registered-models/create", json={"name": "housing"})
    assert made.status_code == 200, made.text
    experiment = ask(server, "pipeline", "POST", "experiments/create", json={"name": "housing"}).json()
    run = ask(server, "pipeline", "POST", "runs/create", json=experiment).json()["run"]["info"]
    folder = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    file = f"{server}/api/2.0/mlflow-artifacts/artifacts/{folder}/model/model.onnx"
    for login, allowed in ((None, 401), ("reader", 403), ("pipeline", 200)):
        auth = (login, PASSWORDS[login]) if login else None
        assert httpx.put(file, content=b"graph", auth=auth, timeout=60).status_code == allowed
    assert httpx.get(file, timeout=60).status_code == 401
    assert httpx.get(file, auth=("reader", PASSWORDS["reader"]), timeout=60).content == b"graph"
    version = {"name": "housing", "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    made = ask(server, "pipeline", "POST", "model-versions/create", json=version)
    assert made.status_code == 200, made.text
    alias = {"name": "housing", "alias": "champion", "version": "1"}
    assert ask(server, "reader", "POST", "registered-models/alias", json=alias).status_code == 403
    assert ask(server, "pipeline", "POST", "registered-models/alias", json=alias).status_code == 200
    for login in ("reader", "admin"):
        found = ask(server, login, "GET", "registered-models/alias?name=housing&alias=champion")
        assert found.json()["model_version"]["version"] == "1"
    assert ask(server, "notebooks", "POST", "registered-models/alias", json=alias).status_code == 403
    by_hand = ask(server, "notebooks", "POST", "experiments/create", json={"name": "housing-experiments"})
    for login, allowed in (("reader", 403), ("notebooks", 200)):
        assert ask(server, login, "POST", "runs/create", json=by_hand.json()).status_code == allowed
    assert ask(server, "notebooks", "POST", "runs/create", json=experiment).status_code == 403
    assert ask(server, "reader", "GET", "experiments/get?experiment_id=0").status_code == 200
    assert (
        ask(server, "reader", "DELETE", "registered-models/delete", json={"name": "housing"}).status_code
        == 403
    )


def test_the_loop_works_with_the_pipelines_login(server, lab, course, use_case, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")  # the registry sets both, for this test alone
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    login = {"mlflow_username": "pipeline", "mlflow_password": SecretStr(PASSWORDS["pipeline"])}
    there = Lab(lab.settings.model_copy(update={"mlflow_url": server} | login), lambda _: None)
    course.will_answer(batch(1, flats(400)), batch(2, flats(400, seed=4)), END)
    assert run_batch(there, use_case).outcome.promoted
    assert run_batch(there, use_case).outcome is not None
    assert there.champion("flats").version == there.ledger.standing("flats").champion


def test_a_rotated_password_is_valid_and_the_former_is_not(server, secrets):
    new = {name: f"the second password of {name}" for name in PASSWORDS}
    for name, password in new.items():
        (secrets / f"{name}-password").write_text(password)
    logins = secrets.parent / "logins.ini"
    subprocess.run(
        [sys.executable, REPOSITORY / "mlflow" / "logins.py", secrets, logins],
        env=os.environ | {"MLFLOW_AUTH_CONFIG_PATH": str(logins)},
        timeout=120,
        check=True,
    )
    # The running server knows a login for up to a minute. Then it reads this table.
    with sqlite3.connect(secrets.parent / "store" / "mlflow.db") as database:
        users = dict(database.execute("SELECT username, password_hash FROM users"))
    database.close()
    assert set(users) == set(PASSWORDS)
    for name, kept in users.items():
        assert check_password_hash(kept, new[name])
        assert not check_password_hash(kept, PASSWORDS[name])
