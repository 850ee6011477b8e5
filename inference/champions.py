"""The served champions: polls the registry's aliases and replaces models without an interruption."""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from inference.errors import RegistryAway, UnknownUseCase
from inference.loaded import Champion, Loader
from inference.metrics import Metrics
from inference.records import RecordsAwayError
from inference.settings import InferenceSettings
from inference.trials import Trials
from mlops_lab.contract import USE_CASE_NAME
from mlops_lab.errors import LabError, NoChampionError, first_line
from mlops_lab.model.registry import CHAMPION, Version

logger = logging.getLogger("inference.champions")

# Versions of each use case whose request counts stay in the metrics.
REMEMBERED_VERSIONS = 5
# Seconds between two tries of a version that can't be loaded.
MAX_PAUSE = 60.0


@dataclass(frozen=True)
class Status:
    """The state of one use case. error: why its newest champion isn't the one that is served."""

    use_case: str
    champion: Champion | None
    error: str | None


@dataclass
class _Failure:
    version: int
    error: str
    retry_at: float
    pause: float = field(default=5.0)


class Champions:
    """Every use case's champion, as the registry has it.

    The served version stays when a new one can't be loaded, has no record in the lab's database, another digest than
    the recorded one or no valid signature, and while the registry or the database doesn't answer. A version that has
    lost the alias is no longer served.
    """

    def __init__(self, settings: InferenceSettings, database: Engine, metrics: Metrics):
        self._settings = settings
        self._loader = Loader(settings, database)
        self._metrics = metrics
        self.trials = Trials(self._loader, metrics)
        # One refresh at a time.
        self._lock = threading.Lock()
        # Held while trials are followed, so that a challenger that loads slowly keeps no champion waiting.
        self._trying = threading.Lock()
        self._trial_tags: dict[str, str] = {}
        self._served: dict[str, Champion] = {}
        self._known: frozenset[str] = frozenset()
        self._failures: dict[str, _Failure] = {}
        self._recent: dict[str, deque[str]] = {}
        # Whether every champion of the registry was tried at least once.
        self.looked = False
        self.registry_error: str | None = None
        # Grows with every change of what is served.
        self.generation = 0

    def get(self, use_case: str) -> Champion:
        """Raises `UnknownUseCase`, or `NoChampionError` when it exists but has no champion."""
        if (champion := self._served.get(use_case)) is not None:
            return champion
        if not self.looked:
            raise NoChampionError(f"no model is served yet, {self.not_looked}; try again shortly")
        if use_case in self._known:
            why = f" ({self._failures[use_case].error})" if use_case in self._failures else ""
            raise NoChampionError(
                f"{use_case} has no champion that can be served yet{why}; try again after its training"
            )
        if use_case == self._settings.default_use_case:
            raise NoChampionError(f"{use_case} has no model yet; try again after its training")
        raise self._unknown(use_case)

    @property
    def not_looked(self) -> str:
        """Why nothing is known of the registry while `looked` is false."""
        if self.registry_error:
            return _away(self.registry_error)
        return "the champions are not loaded yet"

    def find(self, use_case: str) -> Champion | None:
        """The served champion, if any."""
        return self._served.get(use_case)

    def known(self, use_case: str) -> str | None:
        """The name when the registry has it, so that it may become a label."""
        return use_case if use_case in self._known else None

    def served(self) -> list[Champion]:
        return sorted(self._served.values(), key=lambda champion: champion.use_case)

    def check_ready(self) -> dict[str, int]:
        """Use case → served version. Raises `NoChampionError` when none is served, or when one may be missing."""
        # A new replica that serves the first of three champions must not get requests for the others.
        if not self.looked:
            raise NoChampionError(f"{self.not_looked}; try again shortly")
        if served := {champion.use_case: champion.version.version for champion in self.served()}:
            return served
        faults = [f"{status.use_case} {status.error}" for status in self.status() if status.error]
        why = f" ({'; '.join(faults)})" if faults else ""
        raise NoChampionError(f"no champion is served yet{why}; try again after a training")

    def status(self) -> list[Status]:
        """Every registered use case, by name."""
        names = sorted(self._known | self._served.keys() | self._failures.keys())
        failures = dict(self._failures)
        return [Status(n, self._served.get(n), failures[n].error if n in failures else None) for n in names]

    def versions(self, use_case: str) -> list[Version]:
        """Every version in the registry, newest first. Raises `UnknownUseCase`, `RegistryAway`.

        While the last look at the aliases failed, it isn't asked again: each caller would wait as long as that look.
        """
        if self.registry_error:
            raise RegistryAway(f"{_away(self.registry_error)}; try again")
        try:
            if use_case not in self._known and use_case not in self._loader.registry.use_cases():
                raise self._unknown(use_case)
            return self._loader.registry.versions(use_case)
        except UnknownUseCase:
            raise
        except Exception as error:
            raise RegistryAway(f"{_away(first_line(error))}; try again") from error

    def refresh(self, at_once: bool = False) -> None:
        """Reads the aliases and loads what changed. Blocks while it downloads; never raises.

        at_once: also retries what failed a moment ago.
        """
        with self._lock:
            try:
                # Models of other names in the registry are not the lab's.
                names = [name for name in self._loader.registry.use_cases() if USE_CASE_NAME.fullmatch(name)]
                models = {name: self._loader.registry.registered(name) for name in names}
                wanted = {name: self._wanted(name, found.aliases) for name, found in models.items()}
            except Exception as error:
                # MLflow, its HTTP client and its database raise errors of their own.
                self._registry_failed(error)
                return
            if self.registry_error:
                logger.info("the model registry answers again")
            self.registry_error = None
            for name, version in wanted.items():
                self._follow(name, version, at_once)
            for name in (self._served.keys() | self._failures.keys()) - wanted.keys():
                self._withdraw(name, "its registered model was deleted")
            self._known = frozenset(names)
            self._trial_tags = {name: found.facts.trial for name, found in models.items()}
            self.looked = True
        self._follow_trials()

    def _wanted(self, name: str, aliases: dict[str, int]) -> Version | None:
        number = aliases.get(CHAMPION)
        return None if number is None else self._loader.registry.version(name, number)

    def _follow_trials(self) -> None:
        """Gives each champion the challenger of its trial, or takes it away. Another thread may be at it already."""
        if not self._trying.acquire(blocking=False):
            return
        try:
            for name, tag in self._trial_tags.items():
                challenger = self.trials.follow(name, tag, self._served.get(name))
                with self._lock:
                    # Meanwhile another champion may have been loaded. It has no trial until it is looked at.
                    champion = self._served.get(name)
                    if champion is None or champion.challenger is challenger:
                        continue
                    if challenger and challenger.trial.champion != champion.version.version:
                        continue
                    self._served = {**self._served, name: replace(champion, challenger=challenger)}
                    if challenger:
                        self._remember(name, challenger.model.label, champion.label)
        finally:
            self._trying.release()

    def _unknown(self, use_case: str) -> UnknownUseCase:
        names = ", ".join(sorted(self._known)) or "none yet"
        return UnknownUseCase(f"there is no use case {use_case[:40]!r}; there are: {names}")

    def _follow(self, name: str, version: Version | None, at_once: bool) -> None:
        if version is None:
            self._withdraw(name, "no version carries the alias champion")
            return
        served = self._served.get(name)
        if served and (served.version.version, served.version.digest) == (version.version, version.digest):
            self._failures.pop(name, None)
            return
        failure = self._failures.get(name)
        if failure and failure.version != version.version:
            failure = None
        if failure and not at_once and time.monotonic() < failure.retry_at:
            return
        try:
            champion = self._loader.load(version)
        except Exception as error:
            # A broken file or store may raise any error; the old champion stays.
            pause = self._settings.inference_poll
            if failure and not isinstance(error, RecordsAwayError):
                pause = min(failure.pause * 2, MAX_PAUSE)
            self._load_failed(name, version, error, pause)
            return
        self._served = {**self._served, name: champion}
        self._failures.pop(name, None)
        self._changed(champion)

    def _changed(self, champion: Champion) -> None:
        name = champion.use_case
        self.generation += 1
        logger.info("serving %s version %s", name, champion.label, extra={"data": champion.name})
        self._remember(name, champion.label)

    def _remember(self, name: str, *labels: str) -> None:
        """Keeps these versions, the last one longest, and forgets what was served long ago."""
        recent = self._recent.setdefault(name, deque())
        for label in labels:
            if label in recent:
                recent.remove(label)
            recent.append(label)
        while len(recent) > REMEMBERED_VERSIONS:
            self._metrics.forget(name, recent.popleft())
        self._loader.keep_files(name, set(labels))

    def _withdraw(self, name: str, why: str) -> None:
        self._failures.pop(name, None)
        if name in self._served:
            self._served = {key: champion for key, champion in self._served.items() if key != name}
            self.generation += 1
            logger.warning("%s is no longer served: %s", name, why)

    def _load_failed(self, name: str, version: Version, error: Exception, pause: float) -> None:
        self._metrics.reload_failed(name)
        text = f"version {version.version} can't be served: {first_line(error)}"
        before = self._failures.get(name)
        self._failures[name] = _Failure(version.version, text, time.monotonic() + pause, pause)
        if before is None or before.error != text:
            served = self._served.get(name)
            goes_on = f"; version {served.label} is still served" if served else ""
            logger.error(
                "%s %s%s", name, text, goes_on, exc_info=None if isinstance(error, LabError) else error
            )

    def _registry_failed(self, error: Exception) -> None:
        self._metrics.reload_failed("registry")
        text = first_line(error)
        if self.registry_error is None:
            logger.error("the model registry does not answer: %s; the served models stay", text)
        self.registry_error = text


def _away(reason: str) -> str:
    return f"the model registry does not answer ({reason})"
