"""A loaded model, and the one way in which a version becomes one: downloaded, checked, and run once."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Engine

from inference.records import Records
from inference.settings import InferenceSettings
from mlops_lab.contract import Contract
from mlops_lab.decoder import Decoder
from mlops_lab.errors import ModelError
from mlops_lab.model import signing
from mlops_lab.model.drift import DriftCounter
from mlops_lab.model.predictor import Predicted, Predictor
from mlops_lab.model.registry import Registry, Version
from mlops_lab.model.trial import Trial


@dataclass(frozen=True)
class Champion:
    """One loaded model. A request keeps the champion that it began with.

    challenger: the model of the trial against it; None while there is no trial, and for a challenger itself.
    """

    version: Version
    predictor: Predictor
    decoder: Decoder
    drift: DriftCounter
    loaded_at: datetime
    challenger: "Challenger | None" = None

    @property
    def use_case(self) -> str:
        return self.version.use_case

    @property
    def contract(self) -> Contract:
        return self.predictor.contract

    @cached_property
    def name(self) -> dict[str, Any]:
        """How a reply names the model."""
        return {"name": self.use_case, "version": self.version.version}

    @cached_property
    def label(self) -> str:
        return str(self.version.version)

    def by_class(self, found: Predicted) -> list[dict[str, float]] | None:
        """Each row's probabilities by the class; None for regression."""
        if found.probabilities is None:
            return None
        return [dict(zip(self.contract.classes, row, strict=True)) for row in found.probabilities]


@dataclass(frozen=True)
class Challenger:
    """The model of a running trial."""

    trial: Trial
    model: Champion


class Loader:
    """Loads versions for `Champions` and `Trials`."""

    def __init__(self, settings: InferenceSettings, database: Engine):
        self._settings = settings
        self._records = Records(database, settings.models / "recorded.json")

    @cached_property
    def registry(self) -> Registry:
        password = self._settings.mlflow_password
        return Registry(
            self._settings.tracking_uri,
            self._settings.mlflow_username,
            password.get_secret_value() if password else None,
        )

    def load(self, version: Version, remember: bool = True) -> Champion:
        """Raises `RecordsAwayError`, `ModelError`, or what a broken file or store raises.

        remember: keep its digest for a start without the database. There is room for one version of a use case.
        """
        recorded = self._records.digest(version)
        settings = self._settings
        keys = signing.verify_keys(settings)
        folder = self.registry.download(version, settings.models, recorded, keys, settings.allow_unrecorded)
        predictor = Predictor.load(folder)
        if predictor.contract.use_case != version.use_case:
            raise ModelError(f"its contract is that of {predictor.contract.use_case}")
        predictor.check_example()
        if recorded and remember:
            self._records.remember(version, recorded)
        contract = predictor.contract
        return Champion(version, predictor, Decoder(contract), DriftCounter(contract), datetime.now(UTC))

    def keep_files(self, use_case: str, labels: set[str]) -> None:
        """Deletes the files of other versions. A graph is in memory once it is loaded."""
        for folder in self._settings.models.glob(f"{use_case}-*"):
            number = folder.name.removeprefix(f"{use_case}-")
            if number.isdigit() and number not in labels:
                shutil.rmtree(folder, ignore_errors=True)
