"""Requests, latency and errors from pages of metrics, as prometheus_client writes them."""

import pytest
from prometheus_client import CollectorRegistry, Gauge

from inference.metrics import Metrics
from mlops_lab.traffic import ScrapeError, quantile, read_scrape, reasons, traffic

START = 1000.0


@pytest.fixture
def service():
    """The service's own metrics, in a process that began at START."""
    metrics = Metrics()
    registry = CollectorRegistry()
    Gauge("process_start_time_seconds", "", registry=registry).set(START)

    def scrape(at: float, started: float | None = None):
        text = metrics.text().decode()
        lines = [line for line in text.splitlines() if not line.startswith("process_start_time_seconds ")]
        return read_scrape("\n".join([*lines, f"process_start_time_seconds {started or START}", ""]), at)

    metrics.scrape = scrape
    return metrics


def test_since_the_start_and_between_two_scrapes(service):
    for seconds in (0.002, 0.002, 0.002, 0.09):
        service.answered("housing", "3", "predict", 200, seconds, rows=1)
    before = service.scrape(START + 60)
    for _ in range(10):
        service.answered("housing", "3", "infer", 200, 0.02, rows=1)
    service.answered("housing", "4", "predict", 422, 0.0004)
    service.answered("housing", "4", "explain", 200, 4.0)
    service.answered("diabetes", "1", "predict", 200, 9.0)
    newest = service.scrape(START + 180)

    ever = traffic(before, use_case="housing")
    assert (ever.requests, ever.failed, ever.seconds, ever.per_minute) == (4, 0, 60, 4)
    assert 0.001 < ever.p50 <= 0.0025
    assert 0.05 < ever.p95 <= 0.1

    lately = traffic(newest, before, use_case="housing")
    assert (lately.requests, lately.failed, lately.seconds, lately.per_minute) == (11, 1, 120, 5.5)
    assert lately.failing == pytest.approx(1 / 11)
    assert 0.01 < lately.p50 <= 0.025
    assert traffic(newest, before, ["explain"], "housing").p50 > 2.5
    assert traffic(newest, before, use_case="housing", version="4").requests == 1
    assert traffic(newest, before).requests == 12


def test_without_requests_nothing_is_known(service):
    found = traffic(service.scrape(START + 60), use_case="housing")
    assert (found.per_minute, found.failing, found.p50, found.p99) == (0, None, None, None)


def test_errors_are_counted_by_reason(service):
    service.refused("housing", "bad_row")
    before = service.scrape(START + 1)
    for kind in ("bad_row", "too_large", "too_large"):
        service.refused("housing", kind)
    service.refused("diabetes", "bad_row")
    newest = service.scrape(START + 2)
    assert reasons(newest, use_case="housing") == {"bad_row": 2, "too_large": 2}
    assert list(reasons(newest, before, "housing").items()) == [("too_large", 2), ("bad_row", 1)]


def test_a_quantile_is_that_of_prometheus():
    # histogram_quantile's own example: values as evenly spread inside of a bucket.
    buckets = {0.1: 10.0, 0.5: 30.0, 1.0: 40.0, float("inf"): 40.0}
    assert quantile(buckets, 0.5) == pytest.approx(0.3)
    assert quantile(buckets, 0.25) == pytest.approx(0.1)
    assert quantile(buckets, 0.9) == pytest.approx(0.8)
    # Above the last finite bound nothing more is known.
    assert quantile({0.1: 1.0, float("inf"): 9.0}, 0.9) == 0.1
    assert quantile({}, 0.5) is None


@pytest.mark.parametrize("text", ["", "<html><body>no</body></html>", '{"detail": "no"}', "a b c d"])
def test_another_text_is_refused(text):
    with pytest.raises(ScrapeError, match="no page of metrics"):
        read_scrape(text, 0.0)
