"""A stub of a Data API: it gives the scripted replies, in either API variant."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The reply of a Data API that has no further batch.
END = (400, {"detail": "all batches are out"})


class CourseServer:
    """`answers`: (status, body, headers) in order; the last one is repeated. `asked`: the paths of all requests.

    headers: those of each request. pause: seconds after each byte of a body.
    """

    def __init__(self):
        self.answers: list[tuple[int, bytes, dict[str, str]]] = []
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.pause = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                outer.headers.append(dict(self.headers))
                status, body, headers = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    outer.send(self.wfile, body)
                except ConnectionError:  # a client that stops reading
                    pass

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def will_answer(self, *answers: object) -> None:
        """Each answer: (status, content), (status, content, headers), or content for status 200.

        Content that is no bytes becomes JSON. With a `Content-Length` that is too great the reply is cut.
        """
        whole = [answer if isinstance(answer, tuple) else (200, answer) for answer in answers]
        self.answers = [
            (status, content if isinstance(content, bytes) else json.dumps(content).encode(), *headers, {})[
                :3
            ]
            for status, content, *headers in whole
        ]

    def send(self, out, body: bytes) -> None:
        if not self.pause:
            out.write(body)
            return
        for byte in body:
            out.write(bytes([byte]))
            time.sleep(self.pause)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
