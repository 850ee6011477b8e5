"""The object that every route gets: the settings and the parts of the service."""

from dataclasses import dataclass

from inference.body import Intake
from inference.champions import Champions
from inference.metrics import Metrics
from inference.prediction_log import PredictionLog
from inference.settings import InferenceSettings
from inference.shadow import Shadow
from inference.workers import Workers


@dataclass(frozen=True)
class Service:
    """One running service."""

    settings: InferenceSettings
    champions: Champions
    log: PredictionLog
    metrics: Metrics
    intake: Intake
    workers: Workers
    shadow: Shadow
