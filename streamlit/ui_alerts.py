"""The firing alerts, as Alertmanager lists them, for the System page."""

from dataclasses import dataclass
from datetime import datetime

import httpx

from mlops_lab.errors import LabError


class AlertsError(LabError):
    """Alertmanager doesn't answer, or another service answers at its address."""


@dataclass(frozen=True)
class Alert:
    """One firing alert that is neither silenced nor inhibited."""

    name: str
    severity: str
    summary: str
    description: str
    since: datetime


def firing(url: str) -> list[Alert]:
    """The most severe and oldest first. Raises `AlertsError`."""
    wanted = {"active": "true", "silenced": "false", "inhibited": "false"}
    try:
        reply = httpx.get(f"{url.rstrip('/')}/api/v2/alerts", params=wanted, timeout=5).raise_for_status()
        found = [
            Alert(
                name=alert["labels"]["alertname"],
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
    return sorted(found, key=lambda alert: (alert.severity != "page", alert.since))
