"""Shadow and canary: the challengers that get live traffic, and which requests a canary answers.

The registered model's tag says what is tried (`mlops_lab.model.trial`). A challenger that can't be loaded, or fails on
a request, costs no caller a reply: the champion answers.
"""

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from inference.loaded import Challenger, Champion, Loader
from inference.metrics import Metrics
from mlops_lab.errors import LabError, ModelError, first_line
from mlops_lab.ids import random_hex
from mlops_lab.model.trial import Trial

if TYPE_CHECKING:
    from inference.endpoint import Call

logger = logging.getLogger("inference.trials")

# What requests with the same value have the same arm by; the first one that a request has.
KEYS = ("x-request-key", "idempotency-key")
# Seconds between two tries of a version that can't be loaded, and between two lines about failed predictions.
PAUSE = 60.0


@dataclass(frozen=True)
class State:
    """What `/models` says of a use case's trial. trial: None when the tag can't be read. error: why it doesn't run."""

    trial: Trial | None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        if (trial := self.trial) is None:
            return {"error": self.error}
        return {"kind": trial.kind, "version": trial.version, "share": trial.share, "error": self.error}


class Trials:
    """The state of every trial, and what went wrong in them."""

    def __init__(self, loader: Loader, metrics: Metrics):
        self._loader, self._metrics = loader, metrics
        self._states: dict[str, State] = {}
        # Use case → (version, when it is tried again).
        self._failed: dict[str, tuple[int, float]] = {}
        self._told_at: dict[str, float] = {}

    def state(self, use_case: str) -> State | None:
        """None while no trial is asked for."""
        return self._states.get(use_case)

    def follow(self, use_case: str, tag: str, champion: Champion | None) -> Challenger | None:
        """The challenger that is to run beside the champion, by the tag. Never raises; blocks while it downloads."""
        if not tag:
            if self._states.pop(use_case, None):
                logger.info("%s: the trial is over", use_case)
            self._failed.pop(use_case, None)
            return None
        before, trial = champion.challenger if champion else None, None
        try:
            trial = Trial.read(tag)
            if champion is None:
                raise ModelError("there is no champion to try it against")
            if trial.champion != champion.version.version:
                raise ModelError(
                    f"it is over: it was against version {trial.champion}, version {champion.label} is served"
                )
            found = self._challenger(use_case, trial, before)
        except Exception as error:
            # A broken file or store may raise any error. The champion is served all the same.
            self._set(
                use_case, State(trial, first_line(error)), None if isinstance(error, LabError) else error
            )
            return None
        if found is None:
            return None
        if found is not before:
            logger.info("%s: %s runs", use_case, trial)
        self._set(use_case, State(trial))
        return found

    def _challenger(self, use_case: str, trial: Trial, before: Challenger | None) -> Challenger | None:
        """None while a failed version isn't tried again yet. Raises when it can't be served."""
        failed, again_at = self._failed.get(use_case, (0, 0.0))
        if failed == trial.version and time.monotonic() < again_at:
            return None
        try:
            try:
                version = self._loader.registry.version(use_case, trial.version)
            except ModelError:
                raise
            except Exception:
                # MLflow doesn't answer: what runs goes on.
                if before and before.trial == trial:
                    return before
                raise
            if before and (before.model.version.version, before.model.version.digest) == (
                version.version,
                version.digest,
            ):
                return before if before.trial == trial else Challenger(trial, before.model)
            model = self._loader.load(version, remember=False)
        except Exception:
            self._failed[use_case] = trial.version, time.monotonic() + PAUSE
            self._metrics.challenger_failed(use_case, "load")
            raise
        self._failed.pop(use_case, None)
        return Challenger(trial, model)

    def _set(self, use_case: str, state: State, unexpected: Exception | None = None) -> None:
        if state.error and self._states.get(use_case) != state:
            logger.error("%s: no trial runs: %s", use_case, state.error, exc_info=unexpected)
        self._states[use_case] = state

    def failed(self, challenger: Challenger, error: Exception) -> None:
        """Counts a request that a challenger failed on; a line in the log at most once a minute."""
        model, kind = challenger.model, challenger.trial.kind
        self._metrics.challenger_failed(model.use_case, kind)
        if time.monotonic() - self._told_at.get(model.use_case, -PAUSE) >= PAUSE:
            self._told_at[model.use_case] = time.monotonic()
            what = f"{model.use_case} version {model.label} can't predict as a {kind}"
            unexpected = None if isinstance(error, LabError) else error
            logger.error(
                "%s: %s; callers got the champion's reply", what, first_line(error), exc_info=unexpected
            )


def answering(champion: Champion, call: "Call") -> Champion:
    """The model that answers the request: the champion, or the canary for its share of the keys."""
    challenger = champion.challenger
    if challenger is None or challenger.trial.share is None or call.champion_only:
        return champion
    key = next((value for name in KEYS if (value := call.header(name))), None)
    # A request without a key has an arm of its own, so that the share holds for these as well.
    chosen = key.encode("latin-1") if key else random_hex(32).encode()
    if not challenger.trial.takes(champion.use_case, chosen):
        return champion
    call.canary = challenger
    return challenger.model
