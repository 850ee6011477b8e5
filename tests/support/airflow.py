"""An Airflow that answers as a test says: for what a real one does seldom or slowly."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

EMPTY = {"access_token": "of this test", "dag_runs": []}
CUT = 0  # instead of a status: the connection ends without a reply


class Airflow(ThreadingHTTPServer):
    """Sends one status of `will` a request, then 200; the login is valid unless its password is `wrong`.

    asked: the bodies of the requests, without those of logins. sent: their methods and paths. replies: by path;
    the last part of it may be `*`.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.will: list[int] = []
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.replies: dict[str, Any] = {}

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_of: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Airflow

    def _reply(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        path, status = urlsplit(self.path).path, 201
        if path != "/auth/token":
            self.server.asked.append(body)
            self.server.sent.append(f"{self.command} {path}")
            status = self.server.will.pop(0) if self.server.will else 200
        elif json.loads(body)["password"] == "wrong":
            status = 401
        if status == CUT:
            self.close_connection = True
            return
        replies = self.server.replies
        content = replies.get(path, replies.get(f"{path.rpartition('/')[0]}/*", EMPTY))
        reply = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PATCH = _reply  # noqa: N815 (http.server calls these names)

    def log_message(self, *_arguments) -> None:
        pass
