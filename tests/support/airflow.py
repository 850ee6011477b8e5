"""An Airflow that answers as a test says: for what a real one does seldom or slowly."""

import json
from typing import Any
from urllib.parse import urlsplit

from tests.support.http_server import Handler, Server

EMPTY = {"access_token": "of this test", "dag_runs": []}
CUT = 0  # instead of a status: the connection ends without a reply


class Airflow(Server):
    """Sends one status of `will` a request, then 200; the login is valid unless its password is `wrong`.

    asked: the bodies of the requests, without those of logins. sent: their methods and paths. replies: by path;
    the last part of it may be `*`.
    """

    def __init__(self):
        self.will: list[int] = []
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.replies: dict[str, Any] = {}
        super().__init__(_Answers)


class _Answers(Handler):
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
