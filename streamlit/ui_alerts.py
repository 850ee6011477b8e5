"""The firing alerts, as Alertmanager lists them, and what people noted on them, for the System page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import httpx

from mlops_lab.client import AlertNote
from mlops_lab.errors import LabError

FILE = Path(__file__).resolve().parents[1] / "docs" / "runbooks.md"


class AlertsError(LabError):
    """Alertmanager doesn't answer, or another service answers at its address."""


@dataclass(frozen=True)
class Alert:
    """One firing alert that is neither silenced nor inhibited."""

    name: str
    fingerprint: str
    severity: str
    summary: str
    description: str
    since: datetime

    def notes(self, notes: Sequence[AlertNote]) -> list[AlertNote]:
        """The notes on this firing of it; those on an earlier one are older than its start."""
        return [note for note in notes if note.fingerprint == self.fingerprint and note.at >= self.since]


def runbook(alert: str, use_case: str = "") -> str:
    """The address of the alert's runbook, on the page itself. use_case: the chosen one, which stays chosen."""
    return f"system?{urlencode({'alert': alert} | ({'use_case': use_case} if use_case else {}))}"


@cache
def runbooks() -> dict[str, str]:
    """Alert → what it means and what to do, as Markdown, in the order of docs/runbooks.md."""
    _, *sections = FILE.read_text(encoding="utf-8").split("\n## ")
    return {name.strip(): text.strip() for name, _, text in (section.partition("\n") for section in sections)}


# Seconds that Alertmanager may take.
SECONDS = 3.0
# The alert that fires as long as Prometheus works (observability/prometheus/rules/alerts.yml).
WATCHDOG = "Watchdog"


class Firing(NamedTuple):
    """What Alertmanager has. watched: whether Prometheus reports to it; without that, no alert says nothing."""

    alerts: list[Alert]
    watched: bool


def firing(url: str) -> Firing:
    """The most severe and oldest alerts first. Raises `AlertsError`."""
    wanted = {"active": "true", "silenced": "false", "inhibited": "false"}
    try:
        reply = httpx.get(
            f"{url.rstrip('/')}/api/v2/alerts", params=wanted, timeout=SECONDS
        ).raise_for_status()
        found = [
            Alert(
                name=alert["labels"]["alertname"],
                fingerprint=alert["fingerprint"],
                severity=alert["labels"].get("severity", ""),
                summary=alert["annotations"].get("summary", alert["labels"]["alertname"]),
                description=alert["annotations"].get("description", ""),
                since=datetime.fromisoformat(alert["startsAt"].replace("Z", "+00:00")),
            )
            for alert in reply.json()
        ]
    except httpx.HTTPError as error:
        raise AlertsError(f"Alertmanager doesn't answer ({type(error).__name__})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AlertsError("the service that answers isn't an Alertmanager") from error
    alerts = [alert for alert in found if alert.name != WATCHDOG]
    alerts.sort(key=lambda alert: (alert.severity != "page", alert.since))
    return Firing(alerts, watched=len(alerts) < len(found))
