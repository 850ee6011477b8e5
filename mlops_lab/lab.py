"""The lab's services, built from settings and given to every step."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from mlops_lab.data.ledger import Ledger
from mlops_lab.data.predictions import PredictionReader
from mlops_lab.data.store import Store
from mlops_lab.data.turns import Turns
from mlops_lab.errors import ModelError, NoChampionError, SignatureError
from mlops_lab.model import signing
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.registry import CHAMPION, Registry, Version
from mlops_lab.settings import Settings
from mlops_lab.use_case import UseCase, get_use_case

# What only a step that writes needs is imported when it is opened: a person waits for the commands that read.
if TYPE_CHECKING:
    from mlops_lab.data.artifacts import Artifacts
    from mlops_lab.data.incoming import Incoming
    from mlops_lab.data.snapshots import Snapshots
    from mlops_lab.data.source import DataApi
    from mlops_lab.model.tracking import Tracking


@dataclass
class Lab:
    """The databases, the object store, the Data API and MLflow. Each is opened when it is first used.

    progress: is called with each line that reports progress.
    step:     is called when a long step begins: with what it does, the number of steps before it, and of all.
    """

    settings: Settings
    progress: Callable[[str], None] = lambda line: print(line, flush=True)
    step: Callable[[str, int, int], None] = lambda *_: None

    def use_case(self, name: str) -> UseCase:
        return get_use_case(self.settings.use_cases, name)

    def champion(self, use_case: str) -> Version:
        """The version that is served. Raises `NoChampionError` before the first promotion."""
        champion = self.registry.by_alias(use_case, CHAMPION)
        if champion is None:
            raise NoChampionError(
                f"{use_case} has no champion yet; run `lab run {use_case}` or `make demo` first"
            )
        return champion

    @cached_property
    def store(self) -> Store:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        return Store(self.settings.raw_url, self.settings.clean_url)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.store.raw)

    @cached_property
    def predictions(self) -> PredictionReader:
        return PredictionReader(self.store.raw)

    @cached_property
    def artifacts(self) -> "Artifacts":
        from mlops_lab.data.artifacts import S3, Artifacts

        settings = self.settings
        s3 = S3(
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key=_value(settings.s3_access_key),
            secret_key=_value(settings.s3_secret_key),
            virtual_host=settings.s3_addressing == "virtual",
            ca=settings.s3_ca,
        )
        return Artifacts(settings.artifacts, s3)

    @cached_property
    def snapshots(self) -> "Snapshots":
        from mlops_lab.data.snapshots import Snapshots

        return Snapshots(self.store, self.ledger, self.artifacts, lambda line: self.progress(line))

    @cached_property
    def source(self) -> "DataApi":
        return self.data_api(self.settings.data_api_url)

    def data_api(self, url: str) -> "DataApi":
        """A client of the Data API at this address, with the limits of the settings."""
        from mlops_lab.data.source import DataApi

        return DataApi(url, self.settings.data_api_timeout, self.settings.data_api_max_mb)

    @cached_property
    def incoming(self) -> "Incoming":
        from mlops_lab.data.incoming import Incoming

        return Incoming(self.incoming_folder)

    @cached_property
    def turns(self) -> Turns:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        return Turns(self.incoming_folder)

    @property
    def incoming_folder(self) -> Path:
        """A folder on disk, with one folder for each use case, for what is on its way."""
        return self.settings.incoming or self.settings.home / "incoming"

    @cached_property
    def registry(self) -> Registry:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        settings = self.settings
        return Registry(settings.tracking_uri, settings.mlflow_username, _value(settings.mlflow_password))

    @cached_property
    def tracking(self) -> "Tracking":
        from mlops_lab.model.tracking import Tracking

        served = self.settings.tracking_uri.startswith("http")
        return Tracking(self.registry, None if served else str(self.settings.mlflow_artifacts))

    @property
    def cache(self) -> Path:
        """The folder of downloaded models. Each one is checked against its digest again before it is used."""
        return self.settings.home / "models"

    def predictor(self, version: Version) -> Predictor:
        """A registered version, loaded. Raises `ModelError`, also for the reasons of `model_folder`."""
        return Predictor.load(self.model_folder(version))

    def model_folder(self, version: Version) -> Path:
        """A registered version's files; its signature and both records of its digest must agree with them.

        Raises `ModelError`, also when the database has no record of it and the settings don't allow that.
        """
        recorded = self.ledger.model(version.use_case, version.version)
        digest = recorded.digest if recorded else None
        allowed = self.settings.allow_unrecorded
        keys = signing.verify_keys(self.settings)
        return self.registry.download(version, self.cache, digest, keys, allowed)

    def predictor_or_fault(self, version: Version) -> tuple[Predictor | None, str]:
        """The loaded version and an empty text; or None and the reason why it can't be loaded, now or later.

        Raises `SignatureError`, because a version can still be signed.
        """
        try:
            return self.predictor(version), ""
        except SignatureError:
            raise
        except ModelError as error:
            return None, f"the champion can't be loaded: {error}"


def _value(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
