"""What a shadow and a canary cost: one row for the same server, with and without a trial, in turns."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
from measure import Ask, Cost, in_turns
from model import NAMES, registry

from mlops_lab.model.registry import CHAMPION
from mlops_lab.model.trial import Trial

# Seconds until the service follows the registry.
PATIENCE = 60
WAYS = {"no trial": None, "a shadow": 0.0, "a canary that gets half of the requests": 0.5}


def trials(home: Path, ask: Ask, rounds: int) -> dict[str, Cost]:
    """Way → cost of a request, with what the shadow does after the reply. home: the folder of `publish`."""
    champion = registry(home).aliases(NAMES[0])[CHAMPION]
    other = 3 - champion
    asks = []
    for share in WAYS.values():
        trial = None if share is None else Trial(other, champion, share or None)
        asks.append(replace(ask, prepare=_prepare(home, ask, trial)))
    costs = in_turns(asks, rounds)
    registry(home).set_trial(NAMES[0], None)
    return dict(zip(WAYS, costs, strict=True))


def _prepare(home: Path, ask: Ask, trial: Trial | None) -> Callable[[], None]:
    kind = trial and trial.kind

    def prepare() -> None:
        registry(home).set_trial(NAMES[0], trial)
        end = time.monotonic() + PATIENCE
        while _running(ask) != kind:
            if time.monotonic() > end:
                raise SystemExit(f"the service doesn't follow the trial {trial} after {PATIENCE} s")
            time.sleep(0.1)

    return prepare


def _running(ask: Ask) -> str | None:
    found = httpx.get(f"{ask.url}/models").raise_for_status().json()["models"]
    [trial] = [model["trial"] for model in found if model["use_case"] == NAMES[0]]
    return trial and trial.get("kind")
