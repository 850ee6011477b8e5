"""Metric families from rows: the last value of a row is the sample, the values before it are its labels."""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def gauge(name: str, about: str, labels: Sequence[str], rows: Iterable[Sequence[Any]]) -> Metric:
    """A gauge with one sample for each row."""
    return _filled(GaugeMetricFamily(name, about, labels=labels), rows)


def counter(name: str, about: str, labels: Sequence[str], rows: Iterable[Sequence[Any]]) -> Metric:
    """A counter with one sample for each row. Prometheus gets its name with `_total`."""
    return _filled(CounterMetricFamily(name, about, labels=labels), rows)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, rows: Iterable[Sequence[Any]]
) -> GaugeMetricFamily | CounterMetricFamily:
    for *labels, value in rows:
        # None gives no sample, for example the score of a model without labelled predictions.
        if value is not None:
            family.add_metric(labels, float(value))
    return family
