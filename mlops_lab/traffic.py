"""Requests, latency and errors of a service, from its own page `/metrics`. It works where no Prometheus runs.

One scrape has totals since the service started. Two of them give what came in between.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

# The kinds of requests that are answered with predictions.
PREDICTIONS = frozenset({"predict", "infer", "invocations"})

# Labels of a series, by name.
Labels = Mapping[str, str]


class ScrapeError(ValueError):
    """The text isn't a page of metrics."""


@dataclass(frozen=True)
class Scrape:
    """The samples of one page of metrics. at: UNIX time when it was read. series: by the sample's name."""

    at: float
    series: Mapping[str, list[tuple[Labels, float]]] = field(repr=False)

    def of(self, name: str, **wanted: str | None) -> Iterable[tuple[Labels, float]]:
        """The samples of a name with these labels; a label that is None may have any value."""
        known = {label: value for label, value in wanted.items() if value is not None}
        return [
            (labels, value) for labels, value in self.series.get(name, ()) if known.items() <= labels.items()
        ]

    def one(self, name: str, **wanted: str | None) -> float | None:
        """The value of the first such sample; None without one."""
        return next((value for _, value in self.of(name, **wanted)), None)

    @property
    def started(self) -> float | None:
        """UNIX time when the process started; None where it doesn't say. A replica is known by it."""
        return self.one("process_start_time_seconds")


def read_scrape(text: str, at: float) -> Scrape:
    """Parses a page of metrics. Raises `ScrapeError` for another text."""
    series: dict[str, list[tuple[Labels, float]]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                series.setdefault(sample.name, []).append((sample.labels, float(sample.value)))
    except (ValueError, KeyError, IndexError) as error:
        raise ScrapeError(f"no page of metrics: {error}") from None
    if not series:
        raise ScrapeError("no page of metrics")
    return Scrape(at, series)


@dataclass(frozen=True)
class Traffic:
    """What came in some seconds.

    failed: requests with a status from 400 on. p50, p95, p99: seconds, None without requests.
    """

    seconds: float
    requests: float
    failed: float
    p50: float | None
    p95: float | None
    p99: float | None

    @property
    def per_minute(self) -> float:
        """Requests a minute."""
        return 60 * self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def failing(self) -> float | None:
        """The share of the requests that failed; None without requests."""
        return self.failed / self.requests if self.requests else None


def traffic(
    newest: Scrape,
    before: Scrape | None = None,
    kinds: Iterable[str] = PREDICTIONS,
    use_case: str | None = None,
    version: str | None = None,
) -> Traffic:
    """Requests of these kinds between two scrapes of one process; without `before` since it started."""
    since = before.at if before else newest.started
    chosen = frozenset(kinds)

    def grown(name: str) -> list[tuple[Labels, float]]:
        wanted = {"use_case": use_case, "version": version}
        earlier = {_key(labels): value for labels, value in before.of(name, **wanted)} if before else {}
        return [
            (labels, max(0.0, value - earlier.get(_key(labels), 0.0)))
            for labels, value in newest.of(name, **wanted)
            if labels.get("kind") in chosen
        ]

    answered = grown("inference_requests_total")
    buckets: dict[float, float] = {}
    for labels, count in grown("inference_request_latency_seconds_bucket"):
        bound = float(labels["le"])
        buckets[bound] = buckets.get(bound, 0.0) + count
    p50, p95, p99 = (quantile(buckets, share) for share in (0.5, 0.95, 0.99))
    return Traffic(
        seconds=max(0.0, newest.at - since) if since is not None else 0.0,
        requests=sum(count for _, count in answered),
        failed=sum(count for labels, count in answered if labels["status"] >= "400"),
        p50=p50,
        p95=p95,
        p99=p99,
    )


def reasons(newest: Scrape, before: Scrape | None = None, use_case: str | None = None) -> dict[str, float]:
    """Refused and failed requests by kind of error, the most frequent first."""
    name = "inference_errors_total"
    earlier = {_key(labels): value for labels, value in before.of(name)} if before else {}
    found: dict[str, float] = {}
    for labels, value in newest.of(name, use_case=use_case):
        if (count := value - earlier.get(_key(labels), 0.0)) > 0:
            found[labels["kind"]] = found.get(labels["kind"], 0.0) + count
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """A quantile of a cumulative histogram, as Prometheus' `histogram_quantile` has it; None without observations.

    buckets: upper bound → observations up to it. Inside of a bucket values are taken as evenly spread. A quantile above
    the last finite bound is that bound.
    """
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    rank = share * buckets[bounds[-1]]
    place = next(index for index, bound in enumerate(bounds) if buckets[bound] >= rank)
    if math.isinf(bounds[place]):
        return bounds[place - 1] if place else None
    low, below = (bounds[place - 1], buckets[bounds[place - 1]]) if place else (0.0, 0.0)
    inside = buckets[bounds[place]] - below
    return low + (bounds[place] - low) * ((rank - below) / inside if inside else 1.0)


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
