"""Runs an ASGI app on uvicorn, with limits for requests that arrive slowly or have no end."""

import signal
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Seconds that requests under way may still take after SIGTERM.
GRACE = 20
# Seconds until a request must have arrived whole, and a new connection must have sent one.
RECEIVE_SECONDS = 30
# Bytes that may arrive without a part of a body among them: the head of a request.
MAX_HEAD = 64 * 2**10


def serve_asgi(app: Any, listener: socket.socket, access_log: bool = False) -> None:
    """Runs an ASGI app in this process until a signal; requests under way are finished at a stop."""
    # uvicorn raises the signal again after its shutdown. A requested stop is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    server(app, access_log).run(sockets=[listener])


def server(app: Any, access_log: bool = False) -> uvicorn.Server:
    """The server of an ASGI app. It closes a connection whose request takes too long to arrive."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=_Protocol,
        ws="none",
        log_config=None,
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return _Server(config)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol; it also notes since when the present request arrives."""

    # By the loop's clock; None between two requests.
    receiving_since: float | None = None
    _without_body = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.receiving_since = self.loop.time()

    def data_received(self, data: bytes) -> None:
        self._without_body += len(data)
        super().data_received(data)
        if self._without_body > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of a request may have {MAX_HEAD} bytes.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.receiving_since = self.loop.time()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._without_body = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.receiving_since, self._without_body = None, 0


class _Server(uvicorn.Server):
    async def on_tick(self, counter: int) -> bool:
        # uvicorn calls this ten times a second.
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                since = getattr(connection, "receiving_since", None)
                if since is not None and connection.loop.time() - since > RECEIVE_SECONDS:
                    connection.transport.close()
        return await super().on_tick(counter)
