"""A server that answers as Alertmanager 0.33.1 does, with the alerts that a test sets."""

import hashlib
import json
from typing import Any

from tests.support.http_server import Handler, Server


def alert(name: str, severity: str, summary: str, description: str = "", **fields: Any) -> dict[str, Any]:
    """One entry of the reply. fields: others of its fields, such as `startsAt`."""
    return {
        "annotations": {"description": description, "summary": summary},
        "startsAt": "2026-11-21T09:30:34.425Z",
        "status": {"state": "active"},
        "labels": {"alertname": name, "severity": severity},
        "fingerprint": hashlib.sha256(name.encode()).hexdigest()[:16],
    } | fields


# As long as Prometheus reports, Alertmanager has this one.
WATCHDOG = alert("Watchdog", "none", "Prometheus evaluates its rules")


class Alertmanager(Server):
    """Listens while it is open as a context. `alerts` is its reply; bytes are sent as they are."""

    def __init__(self):
        self.alerts: list[dict[str, Any]] | bytes = [WATCHDOG]

        class Answers(Handler):
            def do_GET(self):
                assert self.path.startswith("/api/v2/alerts?active=true&silenced=false&inhibited=false")
                reply = self.server.alerts
                self.send_response(200)
                self.end_headers()
                self.wfile.write(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

        super().__init__(Answers)
