"""The client of Airflow's API: what it does when Airflow doesn't answer, fails, or refuses."""

import json
from collections.abc import Iterator

import pytest

from mlops_lab.local import airflow_client
from mlops_lab.local.airflow_client import AirflowClient, AirflowError
from tests.support.airflow import CUT, Airflow


@pytest.fixture
def airflow(monkeypatch) -> Iterator[Airflow]:
    monkeypatch.setattr(airflow_client.time, "sleep", lambda _: None)
    with Airflow() as server:
        yield server


def client(airflow: Airflow, **options) -> AirflowClient:
    return AirflowClient(airflow.url, "admin", "of this test", **options)


def test_a_failure_that_passes_is_not_seen(airflow):
    airflow.will = [500, CUT, 503]
    assert client(airflow).runs("housing_training") == []
    assert len(airflow.asked) == 4


def test_a_request_that_is_sent_again_queues_one_run(airflow):
    airflow.will = [CUT, 409]
    run = client(airflow).trigger("housing_training")
    first, again = (json.loads(body)["dag_run_id"] for body in airflow.asked)
    assert first == again == run


def test_a_token_that_is_no_longer_valid_is_replaced_once(airflow):
    asking = client(airflow)
    asking.pause("housing_training")
    airflow.will = [401]
    asking.pause("housing_training")
    airflow.will = [401, 401]
    with pytest.raises(AirflowError, match="Airflow answers 401 to PATCH"):
        asking.pause("housing_training")


def test_a_token_of_an_earlier_sign_in_is_used_and_never_replaced(airflow):
    token = client(airflow).sign_in()
    signed_in = AirflowClient(airflow.url, token=token)
    signed_in.pause("housing_training")
    airflow.will = [401]
    with pytest.raises(AirflowError) as refused:
        signed_in.pause("housing_training")
    assert refused.value.status == 401


def test_a_refusal_is_final_and_one_line(airflow):
    airflow.will = [404]
    with pytest.raises(AirflowError, match="Airflow answers 404 to GET"):
        client(airflow).runs("nothing")
    assert len(airflow.asked) == 1


def test_patience_has_an_end(airflow, monkeypatch):
    monkeypatch.setattr(airflow_client, "PATIENCE", 0)
    airflow.will = [CUT]
    with pytest.raises(AirflowError, match="Airflow doesn't answer: RemoteProtocolError: "):
        client(airflow).runs("housing_training")


def test_a_process_that_has_ended_ends_the_wait(airflow):
    def ended() -> None:
        raise ProcessLookupError("Airflow ended with status 1")

    airflow.will = [503]
    with pytest.raises(ProcessLookupError):
        client(airflow, check=ended).runs("housing_training")
