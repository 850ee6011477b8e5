"""Waits for a database server have a bound, without being asked for."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from mlops_lab.data.database import connect
from mlops_lab.data.store import Store
from tests.support.processes import silent_address


class Greeting(socketserver.StreamRequestHandler):
    """As much of MySQL's protocol as a connection needs: a greeting, then OK to everything."""

    def handle(self):
        salt, native = b"s" * 8, b"mysql_native_password\0"
        first = b"\x0a8.0.0\0" + b"\x01\0\0\0" + salt + b"\0\xff\xf7\xff\x02\0\xff\xc1\x15" + bytes(10)
        self.send(0, first + b"s" * 12 + b"\0" + native)
        # The client may reset the connection.
        with suppress(ConnectionError):
            while len(head := self.rfile.read(4)) == 4:
                self.rfile.read(int.from_bytes(head[:3], "little"))
                self.send(head[3] + 1, b"\0\0\0\x02\0\0\0")

    def send(self, number: int, body: bytes) -> None:
        self.wfile.write(len(body).to_bytes(3, "little") + bytes([number]) + body)


@contextmanager
def greeting_address() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_every_connection_of_the_pipeline_to_mysql_has_limits():
    seen = []
    with greeting_address() as address:
        store = Store(f"mysql+pymysql://lab@{address}/RawData", f"mysql+pymysql://lab@{address}/CleanData")
        for engine in (store.raw, store.clean):
            event.listen(engine, "connect", lambda connection, _: seen.append(connection), insert=True)
            # What SQLAlchemy asks at first gets no proper answer here.
            with suppress(Exception):
                engine.connect()
    assert len(seen) == 2
    for connection in seen:
        # For the server's greeting 10 s, then 300 s for a statement.
        assert connection.connect_timeout == 10
        assert (connection._read_timeout, connection._write_timeout) == (300, 300)


def test_every_connection_of_the_pipeline_to_postgresql_has_limits():
    store, asked = Store("postgresql+psycopg2://lab@127.0.0.1:9/RawData", "sqlite://"), []
    event.listen(
        store.raw, "do_connect", lambda _dialect, _record, _arguments, limits: asked.append(dict(limits))
    )
    with pytest.raises(OperationalError):
        store.raw.connect()
    assert asked[0]["connect_timeout"] == 10
    assert asked[0]["options"].endswith("statement_timeout=300000")


@pytest.mark.parametrize("driver", ["mysql+pymysql", "postgresql+psycopg2"])
def test_a_server_that_accepts_and_then_is_silent_is_given_up_by_the_limit_of_a_connection(driver):
    with silent_address() as address:
        # The limit of a statement would be longer than this test may take.
        engine = connect(f"{driver}://lab@{address}/RawData", connect_timeout=1, statement_timeout=3600)
        with pytest.raises(OperationalError, match=r"timed out|timeout expired"):
            engine.connect()
