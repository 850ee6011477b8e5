"""The rollout of a promotion: every replica is polled, by its address, until it serves the version or time is up."""

import math
import socket
import time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from pydantic import SecretStr

from mlops_lab.api_keys import key_header
from mlops_lab.errors import LabError
from mlops_lab.model.predictor import Predictor


class RolloutError(LabError):
    """A replica doesn't serve the promoted version, or its prediction differs from the model's."""


def check_replicas(
    url: str,
    token: str,
    timeout: float,
    use_case: str,
    version: int,
    predictor: Predictor,
    key: SecretStr | None = None,
) -> int:
    """Waits until every replica reloads, reports the version and predicts the contract's example as the model does.

    url: the service's address; its host name may stand for many replicas. token: allows a reload. timeout: seconds.
    key: the API key, where the service requires one.
    Returns the number of replicas. Raises `RolloutError` with the replica and its answer.
    """
    deadline = time.monotonic() + timeout
    expected = predictor.predict([predictor.contract.example]).values[0]
    replicas: list[str] = []
    while True:
        replicas = _replicas(url) or replicas
        faults = [
            f"replica {replica}: {fault}"
            for replica in replicas
            if (fault := _fault(replica, use_case, version, expected, token, key))
        ]
        if replicas and not faults:
            return len(replicas)
        if time.monotonic() > deadline:
            fault = faults[0] if faults else f"no replica at {url}"
            raise RolloutError(f"{use_case} version {version} isn't served within {timeout:g} s: {fault}")
        time.sleep(1)


def _replicas(url: str) -> list[str]:
    """The base address of every replica behind the host name."""
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


def _fault(
    replica: str, use_case: str, version: int, expected: Any, token: str, key: SecretStr | None
) -> str | None:
    """The fault of a replica; None when it serves the version and predicts as the model does."""
    try:
        with httpx.Client(base_url=replica, timeout=10) as http:
            http.post("/reload", headers={"Authorization": f"Bearer {token}"})
            # Not by /predict: these predictions must not count in the log and in the drift.
            reply = http.get(f"/models/{use_case}/check", headers=key_header(key))
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
