"""A promotion is done when every replica serves it: asks each one, by address, until it does or time is up."""

import math
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

import httpx

from mlops_lab.errors import LabError
from mlops_lab.model.predictor import Predictor
from mlops_lab.settings import Settings


class RolloutError(LabError):
    """The promoted version isn't served as it should be."""


def check_replicas(
    settings: Settings, use_case: str, version: int, predictor: Predictor, say: Callable[[str], None]
) -> int:
    """Every replica reloads, reports the version and predicts the contract's example as the model does.

    Returns the number of replicas. Raises `RolloutError` naming the replica and what it answers.
    """
    deadline = time.monotonic() + settings.rollout_timeout
    expected = predictor.predict([predictor.contract.example]).values[0]
    token = settings.reload_token.get_secret_value() if settings.reload_token else ""
    replicas: list[str] = []
    while True:
        replicas = _replicas(settings.inference_url) or replicas
        faults = [
            f"replica {replica}: {fault}"
            for replica in replicas
            if (fault := _fault(replica, use_case, version, predictor.contract.example, expected, token))
        ]
        if replicas and not faults:
            return len(replicas)
        if time.monotonic() > deadline:
            fault = faults[0] if faults else f"no replica at {settings.inference_url}"
            raise RolloutError(
                f"{use_case} version {version} isn't served within {settings.rollout_timeout:g} s: {fault}"
            )
        time.sleep(1)


def _replicas(url: str) -> list[str]:
    """The base address of every replica: a name may stand for many."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return [
        urlunsplit(parts._replace(netloc=f"{host}:{port}"))
        for host in sorted({entry[4][0] for entry in found})
    ]


def _fault(replica: str, use_case: str, version: int, example: dict, expected, token: str) -> str | None:
    """What is wrong with a replica, or None when it serves the version rightly."""
    try:
        with httpx.Client(base_url=replica, timeout=10) as http:
            http.post("/reload", headers={"Authorization": f"Bearer {token}"})
            reply = http.post(f"/predict/{use_case}", json=example)
    except httpx.HTTPError as error:
        return f"can't be reached ({type(error).__name__})"
    if reply.status_code != 200:
        return f"answers {reply.status_code} to the example: {reply.text[:200]}"
    body = reply.json()
    if str(body["model"]["version"]) != str(version):
        return f"still serves version {body['model']['version']}"
    got = body["predictions"][0]
    same = math.isclose(got, expected, rel_tol=1e-4) if isinstance(expected, float) else got == expected
    return None if same else f"predicts {got} for the example, the registered model {expected}"
