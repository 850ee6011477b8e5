"""Runs an ASGI app on uvicorn, with limits for requests that arrive slowly or have no end."""

import json
import math
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


def serve_asgi(
    app: Any,
    listener: socket.socket,
    access_log: bool = False,
    receive_seconds: float = RECEIVE_SECONDS,
    send_seconds: float = math.inf,
) -> None:
    """Runs an ASGI app in this process until a signal; requests under way are finished at a stop."""
    # uvicorn raises the signal again after its shutdown. A requested stop is a success.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    server(app, access_log, receive_seconds, send_seconds).run(sockets=[listener])


def server(
    app: Any,
    access_log: bool = False,
    receive_seconds: float = RECEIVE_SECONDS,
    send_seconds: float = math.inf,
) -> uvicorn.Server:
    """The server of an ASGI app. It ends a connection that takes too long to send a request, or to take a reply.

    send_seconds: until a reply must have been taken; a client that reads nothing holds it in memory.
    """
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
    return _Server(config, receive_seconds, send_seconds)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol; it also notes since when the present request arrives."""

    # By the loop's clock; None between two requests.
    receiving_since: float | None = None
    # Since when there are bytes that the client doesn't take.
    _unread_since: float | None = None
    _without_body = 0
    # Whether a part of a request has arrived; what was answered before it began.
    _begun = False
    _before: Any = None

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
        self._begun, self._before = True, self.cycle
        # Whoever asks again has taken the reply before.
        self._unread_since = None

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._without_body = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self.receiving_since, self._without_body = None, 0
        self._begun = False

    def give_up(self, seconds: float) -> None:
        """Ends the connection of a request that hasn't arrived whole within these seconds, with 408 where it can."""
        if self._begun and self._waits_for_a_reply():
            body = json.dumps({"detail": f"the request did not arrive whole within {seconds:g} s"}).encode()
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\ncontent-type: application/json\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n%s" % (len(body), body)
            )
        self.transport.close()

    def drop_unread(self, seconds: float) -> None:
        """Drops a connection whose client hasn't taken what was sent within these seconds."""
        # Closing it would wait for the client.
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = self.loop.time()
        elif self.loop.time() - self._unread_since > seconds:
            self.transport.abort()

    def _waits_for_a_reply(self) -> bool:
        """Whether the request that arrives is the next one to be answered, and nothing of its reply was sent."""
        if self.cycle is not self._before:  # its head is here
            return not self.pipeline and not self.cycle.response_started
        return self.cycle is None or self.cycle.response_complete


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, receive_seconds: float, send_seconds: float):
        super().__init__(config)
        self._receive_seconds, self._send_seconds = receive_seconds, send_seconds

    async def on_tick(self, counter: int) -> bool:
        # uvicorn calls this ten times a second.
        if counter % 10 == 0:
            for connection in list(self.server_state.connections):
                if not isinstance(connection, _Protocol):
                    continue
                since = connection.receiving_since
                if since is not None and connection.loop.time() - since > self._receive_seconds:
                    connection.give_up(self._receive_seconds)
                connection.drop_unread(self._send_seconds)
        return await super().on_tick(counter)
