"""The Data API's metrics for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, generate_latest


class Metrics:
    """In a registry of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "datos_requests_total",
            "Calls by data set and status",
            ["dataset", "status"],
            registry=self._registry,
        )
        self.rows = Counter("datos_rows_served_total", "Rows served", ["dataset"], registry=self._registry)
        self._position = Gauge(
            "datos_position",
            "Batches served to a group",
            ["dataset", "group", "day"],
            registry=self._registry,
        )

    def text(self, positions: dict[str, int]) -> bytes:
        """The exposition, with `positions` as they are now."""
        self._position.clear()
        for key, batch in positions.items():
            dataset, group, *day = key.split("/")
            self._position.labels(dataset, group, "".join(day)).set(batch)
        return generate_latest(self._registry)
