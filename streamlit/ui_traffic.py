"""The inference service's metrics over the last minutes, kept by this process and shared by every open tab."""

import threading
import time
from collections import deque
from collections.abc import Callable

from pydantic import SecretStr
from ui_settings import settings

import streamlit as st
from mlops_lab.errors import LabError
from mlops_lab.live_client import LiveClient
from mlops_lab.traffic import Scrape, traffic

# Scrapes are kept for this long. One is a few hundred samples.
MINUTES = 5
# Seconds between two scrapes at least, whatever the pages' refresh is.
APART = 5.0
# Seconds that the service may take for its metrics.
SECONDS = 3.0


class Watch:
    """Scrapes of one address. read: makes one; raises `LabError`."""

    def __init__(self, read: Callable[[], Scrape], apart: float):
        self._read, self.apart = read, apart
        self._kept: deque[Scrape] = deque(maxlen=1 + int(60 * MINUTES / apart))
        self._lock = threading.Lock()
        self._fault: LabError | None = None
        self._looked = 0.0

    def look(self) -> list[Scrape]:
        """The scrapes of the process that answered last, oldest first. All tabs together cause one in `apart` seconds.

        Raises `LabError` when the last one failed. Of several replicas each answers in turn, and each is kept apart.
        """
        with self._lock:
            if time.monotonic() - self._looked >= self.apart:
                self._fault = None
                try:
                    self._kept.append(self._read())
                except LabError as error:
                    self._fault = error
                self._looked = time.monotonic()
            if self._fault is not None:
                raise self._fault
            newest = self._kept[-1]
            known = [scrape for scrape in self._kept if scrape.started == newest.started]
            return [scrape for scrape in known if newest.at - scrape.at <= 60 * MINUTES]


@st.cache_resource
def client() -> LiveClient:
    """With the pages' own key."""
    return client_of(settings().api_key)


def client_of(key: SecretStr | None) -> LiveClient:
    """With another key; its replies aren't those of the pages' key."""
    return LiveClient(settings().inference_url, SECONDS, key=key)


@st.cache_resource
def watch() -> Watch:
    """The one of the inference service."""
    return Watch(client().scrape, max(APART, float(settings().page_refresh)))


def lasting(seconds: float | None) -> str:
    """A latency as text: `4.2 ms`, `1.3 s`; `–` when it isn't known."""
    if seconds is None:
        return "–"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def ago(seconds: float) -> str:
    """A span of time, rounded down: `12 s`, `5 min`, `3 h`, `2 days`."""
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:.0f} days"


def in_words(scrapes: list[Scrape]) -> str:
    """What the service predicted in the last minutes, or since its start where nobody looked before."""
    before = scrapes[0] if len(scrapes) > 1 else None
    found = traffic(scrapes[-1], before)
    within = f", 95% within {lasting(found.p95)}" if found.requests else ""
    return f"{found.per_minute:,.3g} predictions a minute{within}"
