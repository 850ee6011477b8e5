"""A stub of a Data API: it gives the scripted replies, in either API variant."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The reply of a Data API that has no further batch.
END = (400, {"detail": "all batches are out"})


class CourseServer:
    """`answers`: (status, body) in order; the last one is repeated. `asked`: the paths of all requests."""

    def __init__(self):
        self.answers: list[tuple[int, bytes]] = []
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                status, body = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def will_answer(self, *answers: object) -> None:
        """Each answer: a (status, content) pair, or content for status 200; what is no bytes becomes JSON."""
        pairs = [answer if isinstance(answer, tuple) else (200, answer) for answer in answers]
        self.answers = [(s, c if isinstance(c, bytes) else json.dumps(c).encode()) for s, c in pairs]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
