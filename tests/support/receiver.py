"""A webhook of LAB_NOTIFY_URL that keeps what it gets."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# A part of its URL, which no log and no message may have.
TOKEN = "T0KEN"


class Receiver(ThreadingHTTPServer):
    """An HTTP server that keeps each body; `status` is its answer, `hold` makes it wait. Closed as a context."""

    daemon_threads = True

    def __init__(self):
        self.bodies, self.status, self.hold = [], 200, threading.Event()
        self.hold.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.server.hold.wait(20)
                self.server.bodies.append(body)
                self.send_response(self.server.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/{TOKEN}"

    @property
    def told(self) -> list[str]:
        """Each decision that came."""
        return [decision["what"] for body in self.bodies for decision in body["decisions"]]

    def __exit__(self, *fault: Any) -> None:
        self.hold.set()
        self.shutdown()
        super().__exit__(*fault)
