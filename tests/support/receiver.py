"""A webhook of LAB_NOTIFY_URL that keeps what it gets."""

import json
import threading
from typing import Any

from tests.support.http_server import Handler, Server

# A part of its URL, which no log and no message may have.
TOKEN = "T0KEN"


class Receiver(Server):
    """An HTTP server that keeps each body; `status` is its answer, `hold` makes it wait. Closed as a context."""

    def __init__(self):
        self.bodies, self.status, self.hold = [], 200, threading.Event()
        self.hold.set()

        class Answers(Handler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.server.hold.wait(20)
                self.server.bodies.append(body)
                self.send_response(self.server.status)
                self.end_headers()

        super().__init__(Answers)

    @property
    def url(self) -> str:
        return f"{super().url}/hook/{TOKEN}"

    @property
    def told(self) -> list[str]:
        """Each decision that came."""
        return [decision["what"] for body in self.bodies for decision in body["decisions"]]

    def __exit__(self, *fault: Any) -> None:
        self.hold.set()
        super().__exit__(*fault)
