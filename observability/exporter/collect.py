"""Runs all probes side by side each time Prometheus scrapes; a service that doesn't answer in time is down."""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from prometheus_client.core import GaugeMetricFamily, Metric

from mlops_lab.errors import first_line
from observability.exporter.probes import Probe, disk, probes
from observability.exporter.settings import ExporterSettings

logger = logging.getLogger("exporter")


class Collector:
    """The exporter's metrics, for a `CollectorRegistry`. A second scrape waits until the first one has ended."""

    def __init__(self, settings: ExporterSettings):
        self._settings = settings
        self._probes = probes(settings)
        self._pool = ThreadPoolExecutor(max(1, 2 * len(self._probes)), thread_name_prefix="probe")
        self._down: dict[str, str] = {}
        self._turn = Lock()

    def collect(self) -> Iterable[Metric]:
        with self._turn:
            return self._collect()

    def _collect(self) -> list[Metric]:
        up = GaugeMetricFamily("lab_up", "1 while the probe of the service succeeds", labels=["service"])
        took = GaugeMetricFamily("lab_probe_seconds", "Time that the probe took", labels=["service"])
        deadline = time.monotonic() + self._settings.timeout + 1
        asked = {service: self._pool.submit(_timed, probe) for service, probe in self._probes.items()}
        found: list[Metric] = []
        for service, future in asked.items():
            try:
                metrics, seconds = future.result(timeout=max(0.01, deadline - time.monotonic()))
            # Any error of the driver means that the service doesn't answer.
            except Exception as error:
                up.add_metric([service], 0)
                self._log(service, first_line(error, with_class=True))
                continue
            up.add_metric([service], 1)
            took.add_metric([service], seconds)
            found += metrics
            self._log(service, None)
        return [up, took, *_merged(found), *disk(self._settings)]

    def _log(self, service: str, fault: str | None) -> None:
        """One line when a service goes down or comes back, not one each scrape."""
        before = self._down.pop(service, None)
        if fault:
            self._down[service] = fault
            if before is None:
                logger.warning("%s is down: %s", service, fault)
        elif before:
            logger.info("%s is up again", service)


def _timed(probe: Probe) -> tuple[list[Metric], float]:
    started = time.perf_counter()
    metrics = probe()
    return metrics, time.perf_counter() - started


def _merged(found: list[Metric]) -> list[Metric]:
    """Samples of one name in one family: Prometheus refuses a name that is declared twice."""
    families: dict[str, Metric] = {}
    for metric in found:
        if metric.name in families:
            families[metric.name].samples += metric.samples
        else:
            families[metric.name] = metric
    return list(families.values())
