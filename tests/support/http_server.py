"""What every HTTP server of a test has: a free port, a thread, an end with its context, and no log."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server(ThreadingHTTPServer):
    """Answers from its start on, until its context ends."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]):
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __exit__(self, *fault: Any) -> None:
        self.shutdown()
        super().__exit__(*fault)


class Handler(BaseHTTPRequestHandler):
    """Its subclasses answer."""

    def log_message(self, *_: Any) -> None:
        pass
