"""Every service with a login refuses a wrong password and a request without one, beside the right one."""

import json

import httpx
import pymysql
import pytest
from botocore.exceptions import ClientError

from tests.stack.stack import PATIENCE, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]

WRONG = "not-the-password-of-this-lab-000"
# Redis and PostgreSQL publish no port: a service on their network asks. First with its own login, which is right.
ASK_REDIS_AND_POSTGRES = """
import json, pathlib, sys
import psycopg2, redis
wrong, said = sys.argv[1], {}
def ask(name, call):
    try: said[name] = str(call())
    except Exception as error: said[name] = str(error).strip()
broker = pathlib.Path('/secrets/broker-url').read_text().strip()
database = pathlib.Path('/secrets/db-url').read_text().strip().replace('+psycopg2', '')
ask('redis', lambda: redis.Redis.from_url(broker).ping())
ask('redis, airflow', lambda: redis.Redis('redis', username='airflow', password=wrong).ping())
ask('redis, default', lambda: redis.Redis('redis', password=wrong).ping())
ask('redis, nobody', lambda: redis.Redis('redis').ping())
ask('postgres', lambda: psycopg2.connect(database).closed)
for user in ('airflow', 'monitor', 'postgres'):
    ask('postgres, ' + user, lambda: psycopg2.connect(host='postgres', dbname='airflow', user=user, password=wrong))
ask('postgres, nobody', lambda: psycopg2.connect(host='postgres', dbname='airflow', user='airflow'))
print(json.dumps(said))
"""


def test_the_queue_and_airflows_database(stack):
    said = json.loads(stack.run_in("airflow-scheduler", "python", "-c", ASK_REDIS_AND_POSTGRES, WRONG))
    assert (said.pop("redis"), said.pop("postgres")) == ("True", "0")
    for client, error in said.items():
        refused = {
            "redis, nobody": "client already authenticated",
            "redis, airflow": "invalid username-password pair",
            "redis, default": "invalid username-password pair",
            "postgres, nobody": "no password supplied",
        }
        assert refused.get(client, "password authentication failed") in error, f"{client}: {error}"


def test_mysql(stack):
    assert stack.sql("SELECT 1") == [(1,)]
    for user in ("reader", "raw", "monitor", "root"):
        for password in (WRONG, ""):
            with pytest.raises(
                pymysql.err.OperationalError, match=r"Access denied|is not allowed to connect"
            ):
                pymysql.connect(host="127.0.0.1", port=stack.ports["mysql"], user=user, password=password)


def test_minio(stack):
    user, password = stack.login("MinIO")
    assert _buckets(stack, user, password)
    for login, error in (
        ((user, WRONG), "SignatureDoesNotMatch"),
        (("minioadmin",) * 2, "InvalidAccessKeyId"),
    ):
        with pytest.raises(ClientError, match=error):
            _buckets(stack, *login)
    assert httpx.get(f"{stack.url('minio')}/api-artifacts", timeout=60).status_code == 403
    console = f"{stack.url('minio_console')}/api/v1/login"
    assert httpx.post(console, json={"accessKey": user, "secretKey": WRONG}, timeout=60).status_code in (
        401,
        403,
    )
    assert httpx.post(console, json={"accessKey": user, "secretKey": password}, timeout=60).status_code == 204


def test_airflow(stack):
    user, password = stack.login("Airflow")
    tokens = f"{stack.url('airflow')}/auth/token"
    for wrong in (WRONG, "admin", "airflow", ""):
        reply = httpx.post(tokens, json={"username": user, "password": wrong}, timeout=60)
        assert 400 <= reply.status_code < 500, wrong
        assert "access_token" not in reply.text
    dags = f"{stack.url('airflow')}/api/v2/dags"
    assert httpx.get(dags, timeout=60).status_code == 401
    assert httpx.get(dags, headers={"Authorization": f"Bearer {WRONG}"}, timeout=60).status_code in (401, 403)
    reply = httpx.post(tokens, json={"username": user, "password": password}, timeout=60)
    assert reply.status_code == 201


def test_grafana(stack):
    # Not more than four wrong tries: Grafana locks a login after five.
    search = f"{stack.url('grafana')}/api/search"
    user, password = stack.login("Grafana")
    for login in ((user, WRONG), ("admin", "admin")):
        assert httpx.get(search, auth=login, timeout=60).status_code == 401
    assert httpx.get(search, timeout=60).status_code == 401
    assert httpx.get(search, auth=(user, password), timeout=60).status_code == 200


def test_the_reload_of_models(stack):
    reload = f"{stack.url('inference')}/reload"
    for headers in ({}, {"Authorization": f"Bearer {WRONG}"}):
        assert httpx.post(reload, headers=headers, timeout=60).status_code in (401, 403)


def test_mlflow_has_no_login_here_and_answers_to_the_labs_names_alone(stack):
    """In the cluster it has one: tests/k8s/test_mlflow_login.py."""
    ask = f"{stack.url('mlflow')}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert httpx.get(ask, timeout=60).status_code == 200
    assert httpx.get(ask, headers={"Host": "attacker.example"}, timeout=60).status_code == 403


def _buckets(stack: Stack, user: str, password: str) -> list[str]:
    return [bucket["Name"] for bucket in stack.bucket((user, password)).list_buckets()["Buckets"]]
