"""The service's Prometheus metrics. No label comes from user input: an unknown use case counts as `unknown`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from inference.champions import Champions
    from inference.prediction_log import PredictionLog

UNKNOWN = "unknown"
_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 5, 10, 50, 100, 500, 1000, 5000, 10_000)


class Metrics:
    """One set of metrics a service."""

    def __init__(self):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "inference_requests",
            "Requests that name a use case, by route and the reply's status",
            ["use_case", "version", "kind", "status"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "inference_request_latency_seconds",
            "Time from a request's headers read to its reply made",
            ["use_case", "version", "kind"],
            buckets=_LATENCY,
            registry=self.registry,
        )
        self._rows = Histogram(
            "inference_batch_size",
            "Rows a predicted request",
            ["use_case"],
            buckets=_ROWS,
            registry=self.registry,
        )
        self._errors = Counter(
            "inference_errors",
            "Refused or failed requests, by reason",
            ["use_case", "kind"],
            registry=self.registry,
        )
        self._challenger_failures = Counter(
            "inference_challenger_failures",
            "Challengers that could not be loaded (load), and requests that one failed on (canary, shadow)",
            ["use_case", "kind"],
            registry=self.registry,
        )
        self._shadow_rows = Counter(
            "inference_shadow_rows",
            "Rows given to a shadow: predicted, failed, or dropped because it was too slow",
            ["use_case", "version", "result"],
            registry=self.registry,
        )
        self._shadow_latency = Histogram(
            "inference_shadow_latency_seconds",
            "Time that a shadow took for the rows of one request",
            ["use_case", "version"],
            buckets=_LATENCY,
            registry=self.registry,
        )
        self._reload_failures = Counter(
            "model_reload_failures",
            "Champions that could not be loaded; `registry` when MLflow itself did not answer",
            ["use_case"],
            registry=self.registry,
        )
        self._reload_failures.labels("registry")
        # Looking labels up costs more than counting.
        self._cached: dict[tuple[str, str, str, int], tuple[Counter, Histogram, Histogram]] = {}

    def answered(
        self, use_case: str, version: str, kind: str, status: int, seconds: float, rows: int = 0
    ) -> None:
        """Counts one reply."""
        key = use_case, version, kind, status
        if (series := self._cached.get(key)) is None:
            series = self._cached[key] = (
                self._requests.labels(use_case, version, kind, str(status)),
                self._latency.labels(use_case, version, kind),
                self._rows.labels(use_case),
            )
        requests, latency, batch_size = series
        requests.inc()
        latency.observe(seconds)
        if rows:
            batch_size.observe(rows)

    def refused(self, use_case: str, kind: str) -> None:
        self._errors.labels(use_case, kind).inc()

    def reload_failed(self, use_case: str) -> None:
        self._reload_failures.labels(use_case).inc()

    def challenger_failed(self, use_case: str, kind: str) -> None:
        self._challenger_failures.labels(use_case, kind).inc()

    def shadowed(
        self, use_case: str, version: str, result: str, rows: int, seconds: float | None = None
    ) -> None:
        """Counts what became of rows that were given to a shadow."""
        self._shadow_rows.labels(use_case, version, result).inc(rows)
        if seconds is not None:
            self._shadow_latency.labels(use_case, version).observe(seconds)

    def forget(self, use_case: str, version: str) -> None:
        """Drops the series of a version that was served long ago, so that their number stays bounded."""
        for key in [key for key in self._cached if key[:2] == (use_case, version)]:
            del self._cached[key]
            self._requests.remove(use_case, version, key[2], str(key[3]))
            self._latency.remove(use_case, version, key[2])
        for result in ("predicted", "failed", "dropped"):
            self._shadow_rows.remove(use_case, version, result)
        self._shadow_latency.remove(use_case, version)

    def watch(self, champions: "Champions", log: "PredictionLog") -> None:
        """Adds the collectors that compute at each scrape: served models, drift, the spool."""
        self.registry.register(_Models(champions))
        self.registry.register(_SpoolSize(log))

    def text(self) -> bytes:
        """The page `/metrics`."""
        return generate_latest(self.registry)


class _Models:
    """Computed at each scrape: the served models and their drift."""

    def __init__(self, champions: "Champions"):
        self._champions = champions

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "model_info", "The served champion", labels=["use_case", "version", "run_id", "candidate"]
        )
        loaded = GaugeMetricFamily(
            "model_loaded_timestamp_seconds", "When it was loaded", labels=["use_case"]
        )
        drift = GaugeMetricFamily(
            "feature_drift_psi",
            "Population stability index of the latest rows against the training rows, "
            "from the contract's min_drift_rows on",
            labels=["use_case", "feature"],
        )
        bound = GaugeMetricFamily(
            "feature_drift_bound",
            "feature_drift_psi above which the use case's retrain policy requires a training",
            labels=["use_case"],
        )
        rows = GaugeMetricFamily(
            "feature_drift_rows", "Rows that feature_drift_psi is about", labels=["use_case"]
        )
        unknown = CounterMetricFamily(
            "feature_unknown_values",
            "Category values that the model has no code for (rare or unknown)",
            labels=["use_case", "feature"],
        )
        for champion in self._champions.served():
            name = champion.use_case
            lineage = champion.contract.lineage
            candidate = lineage.candidate if lineage else ""
            info.add_metric([name, str(champion.version.version), champion.version.run_id, candidate], 1)
            loaded.add_metric([name], champion.loaded_at.timestamp())
            rows.add_metric([name], champion.drift.rows)
            bound.add_metric([name], champion.contract.retrain.psi)
            for feature, value in champion.drift.report().items():
                drift.add_metric([name, feature], value)
            for feature, count in champion.drift.unknown().items():
                unknown.add_metric([name, feature], count)
        failing = GaugeMetricFamily(
            "model_reload_failing", "1 while the newest champion can't be loaded", labels=["use_case"]
        )
        away = self._champions.registry_error is not None
        for status in self._champions.status():
            # While the registry doesn't answer, nobody knows whether there is a newer champion.
            if status.error or not away:
                failing.add_metric([status.use_case], 1 if status.error else 0)
        registry = GaugeMetricFamily(
            "model_registry_up", "1 while the registry answers the service; absent before its first look"
        )
        if away or self._champions.looked:
            registry.add_metric([], 0 if away else 1)
        trials = GaugeMetricFamily(
            "model_trial_info",
            "The challenger that gets live traffic beside the champion",
            labels=["use_case", "version", "kind"],
        )
        for champion in self._champions.served():
            if challenger := champion.challenger:
                trials.add_metric([champion.use_case, challenger.model.label, challenger.trial.kind], 1)
        return [info, loaded, drift, bound, rows, unknown, failing, registry, trials]


class _SpoolSize:
    """Computed at each scrape: the spool."""

    def __init__(self, log: "PredictionLog"):
        self._log = log

    def collect(self) -> Iterable[Metric]:
        size, rows = self._log.spooled()
        yield GaugeMetricFamily(
            "inference_prediction_spool_bytes", "Log entries on disk, not in the database", size
        )
        yield GaugeMetricFamily("inference_prediction_spool_rows", "The same in rows", rows)
        yield CounterMetricFamily(
            "inference_predictions_logged", "Entries moved to the database", self._log.logged
        )
        yield CounterMetricFamily(
            "inference_predictions_dropped",
            "Entries lost to a full spool or refused by the database",
            self._log.dropped,
        )
