"""Users of the prediction API, for `locust -f locust/locustfile.py` and for the search in `load_search.py`.

Each user requests a prediction about once a second, for one of the served use cases: usually of a single row, sometimes
of a small batch. The address is always LAB_INFERENCE_URL; the field «Host» of Locust's page has no effect.
"""

from random import Random

from load_rows import rows
from locust.contrib.fasthttp import FastHttpUser
from locust.exception import StopUser

from locust import between, events, task
from mlops_lab.api_keys import key_header
from mlops_lab.client import InferenceClient
from mlops_lab.contract import Contract
from mlops_lab.errors import LabError, NoChampionError
from mlops_lab.settings import INFERENCE_PORT, Settings, local_url

SETTINGS = Settings()
URL = (SETTINGS.inference_url or local_url(INFERENCE_PORT)).rstrip("/")

# The smallest and the largest number of rows of a small batch.
BATCH = (2, 20)

# Requests with a single row for each request with a small batch.
SINGLE = 9

DICE = Random()  # noqa: S311 - no secret is made with it
_served: list[Contract] = []


def learn() -> list[Contract]:
    """Reads and returns the contracts of the served models, for the users' requests.

    Raises `NoChampionError` when no model is served, and `LabError` when the API can't be used.
    """
    client = InferenceClient(URL, key=SETTINGS.api_key)
    _served[:] = [client.contract(model.use_case) for model in client.models().models if model.version]
    if not _served:
        raise NoChampionError("no model is served yet; train one first (`make demo`, or `lab run`)")
    return list(_served)


@events.test_start.add_listener
def _learn(environment, **_) -> None:
    # Locust's page shows this host.
    environment.host = URL
    try:
        learn()
    except LabError as error:
        # Locust's page shows the error under Failures. Users without a contract stop in `on_start`.
        _served.clear()
        about = {"response_time": 0, "response_length": 0, "context": {}, "response": None}
        environment.events.request.fire(request_type="GET", name="/models", exception=error, **about)


class LabUser(FastHttpUser):
    """Sends about one prediction request a second."""

    wait_time = between(0.5, 1.5)
    host = URL
    connection_timeout = network_timeout = 30.0

    def __init__(self, environment):
        self.host = URL
        super().__init__(environment)

    def on_start(self) -> None:
        if not _served:
            raise StopUser

    @task(SINGLE)
    def predict(self) -> None:
        contract = DICE.choice(_served)
        self._predict(contract, rows(contract, 1, DICE)[0], 1, f"{contract.use_case}: one row")

    @task(1)
    def predict_batch(self) -> None:
        contract = DICE.choice(_served)
        n = DICE.randint(*BATCH)
        self._predict(contract, {"rows": rows(contract, n, DICE)}, n, f"{contract.use_case}: small batch")

    def _predict(self, contract: Contract, body: dict, n: int, name: str) -> None:
        path = f"/predict/{contract.use_case}"
        headers = key_header(SETTINGS.api_key)
        with self.client.post(path, json=body, headers=headers, name=name, catch_response=True) as reply:
            if reply.status_code != 200:
                reply.failure(f"{reply.status_code}: {(reply.text or 'no answer')[:200]}")
            elif len(reply.json()["predictions"]) != n:
                reply.failure(f"{n} rows were sent, {len(reply.json()['predictions'])} predictions came back")
