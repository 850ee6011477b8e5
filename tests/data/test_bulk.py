"""Many rows at once. Against the real MySQL: tests/stack/test_bulk.py; here SQLite, and a server that means harm."""

import logging
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa
import pytest
from pymysql.connections import Connection
from sqlalchemy import Column, Integer, MetaData, Table, func, select, text
from sqlalchemy.exc import IntegrityError

from mlops_lab.data import bulk
from mlops_lab.data.database import StoreError, connect
from tests.support.odd_rows import check

PAIRS = Table("pairs", MetaData(), Column("a", Integer), Column("b", Integer))
ROWS = pa.table({"a": [1, 2, 3], "b": [4, None, 6]})


def test_odd_values_come_back_as_they_were_and_faulty_ones_leave_nothing(tmp_path):
    check(connect(f"sqlite:///{tmp_path}/rows.db"))


def test_the_caller_ends_the_transaction(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "STATEMENT", 16)  # One row in each statement.
    engine = connect(f"sqlite:///{tmp_path}/rows.db")
    PAIRS.create(engine)
    with engine.connect() as db:
        bulk.load(db, PAIRS, ROWS)
        db.rollback()
        assert db.scalar(select(func.count()).select_from(PAIRS)) == 0
        db.rollback()
        bulk.load(db, PAIRS, ROWS)
        db.commit()
    with engine.connect() as db:
        assert db.execute(select(PAIRS)).all() == [(1, 4), (2, None), (3, 6)]


class Server(socketserver.StreamRequestHandler):
    """A MySQL server in its protocol, as far as it is needed. To LOAD DATA and to `SELECT 1` it sends `answer`.

    Of the rows that it is sent it takes the first, and warns of the others.
    """

    def handle(self):
        self.server.told = told = []
        greeting = b"\x0a8.4.0\0" + b"\x01\0\0\0" + b"s" * 8 + b"\0\xff\xf7\xff\x02\0\xff\xc1\x15" + bytes(10)
        self.send(0, greeting + b"s" * 12 + b"\0mysql_native_password\0")
        with suppress(ConnectionError):
            while len(head := self.rfile.read(4)) == 4:
                body = self.rfile.read(int.from_bytes(head[:3], "little"))
                told.append(body)
                if b"LOAD DATA" in body or body.endswith(b"SELECT 1"):
                    self.send(1, self.server.answer)
                elif not body:  # The end of the file.
                    self.send(head[3] + 1, b"\0\x01\0\x02\0" + bytes([told[-2].count(b"\n") - 1, 0]))
                elif b"SHOW WARNINGS" in body:
                    self.row("Warning", 1062, "Duplicate entry '1'")
                elif body.startswith((b"\x03SELECT", b"\x03SHOW")):
                    # What SQLAlchemy asks at first.
                    self.row("0" if b"lower_case" in body else "8.4.0")
                elif head[3] < 2:  # Every statement, and the login; not the rows.
                    self.send(head[3] + 1, b"\0\0\0\x02\0\0\0")

    def row(self, *values: str | int) -> None:
        """A result of one row."""
        end = b"\xfe\0\0\x02\0"
        kinds = [b"\x03" if isinstance(value, int) else b"\xfd" for value in values]
        columns = [b"\x03def\0\0\0\x01v\0\x0c\x2d\0\xff\0\0\0" + kind + b"\0\0\0\0\0" for kind in kinds]
        texts = [str(value).encode() for value in values]
        packets = [bytes([len(values)]), *columns, end, b"".join(bytes([len(t)]) + t for t in texts), end]
        for number, packet in enumerate(packets, 1):
            self.send(number, packet)

    def send(self, number: int, body: bytes) -> None:
        self.wfile.write(len(body).to_bytes(3, "little") + bytes([number]) + body)


@contextmanager
def server(answer: bytes) -> Iterator[socketserver.ThreadingTCPServer]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as found:
        found.daemon_threads, found.answer = True, answer
        found.url = f"mysql+pymysql://lab@127.0.0.1:{found.server_address[1]}/RawData"
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        yield found
        found.shutdown()


@pytest.fixture
def secret(tmp_path):
    """A file that the server asks for."""
    path = tmp_path / "secret"
    path.write_text("the private key")
    return path


def test_a_server_that_asks_for_another_file_than_the_rows_gets_nothing(secret):
    with server(b"\xfb" + bytes(secret)) as mysql:
        with (
            pytest.raises(StoreError, match=r"asks for something else .* gets nothing"),
            connect(mysql.url).begin() as db,
        ):
            bulk.load(db, PAIRS, ROWS)
        assert any(b"LOAD DATA" in said for said in mysql.told)
        assert not any(b"private" in said or b'"4"' in said for said in mysql.told)


def test_a_server_that_asks_for_a_file_at_another_statement_gets_nothing(secret):
    with server(b"\xfb" + bytes(secret)) as mysql, connect(mysql.url).connect() as db:
        with pytest.raises(RuntimeError, match="local_infile option is false"):
            db.execute(text("SELECT 1"))
        assert b"\x03SELECT 1" in mysql.told
        assert not any(b"private" in said for said in mysql.told)
        db.invalidate()


def test_a_server_without_load_data_gets_inserts_and_says_so_once(caplog, monkeypatch):
    monkeypatch.setattr(bulk, "STATEMENT", 16)  # One row in each.
    off = b"\xff" + (3948).to_bytes(2, "little") + b"#42000Loading local data is disabled"
    caplog.set_level(logging.WARNING)
    with server(off) as mysql:
        engine = connect(mysql.url)
        for _connection in range(2):
            for _ in range(2):
                with engine.begin() as db:
                    bulk.load(db, PAIRS, ROWS)
            said = [statement[1:] for statement in mysql.told]
            assert sum(statement.startswith(b"LOAD DATA") for statement in said) == 1
            inserts = [statement for statement in said if statement.startswith(b"INSERT")]
            values = [statement.rpartition(b"VALUES ")[2] for statement in inserts[:3]]
            assert values == [b"(1, 4)", b"(2, NULL)", b"(3, 6)"]
            assert inserts[3:] == inserts[:3]
            engine.dispose()
    assert [r.getMessage() for r in caplog.records if "LOAD DATA LOCAL" in r.getMessage()] == [
        f"{engine.url} takes no LOAD DATA LOCAL (its setting local_infile is off), so rows are written by INSERT, "
        "which takes several times as long"
    ]


def test_a_row_that_a_server_leaves_out_with_a_warning_is_an_error():
    with (
        server(b"\xfbrows") as mysql,
        pytest.raises(IntegrityError, match=r"1062, .Duplicate entry '1' \(pairs\)"),
        connect(mysql.url).begin() as db,
    ):
        bulk.load(db, PAIRS, ROWS)
    assert b'1,"4"\n' in b"".join(mysql.told)
    assert mysql.told[-1] == b"\x03ROLLBACK"


def test_chunks_arrive_in_their_order_in_a_transaction_that_the_first_load_begins(monkeypatch):
    monkeypatch.setattr(bulk, "STATEMENT", 16)  # One row in each.
    with server(b"\xfbrows") as mysql, connect(mysql.url).connect() as db:
        bulk.load(db, PAIRS, ROWS)
        db.commit()
        assert [said for said in mysql.told if said.endswith(b"\n")] == [b"1,4\n", b'2,"\\N"\n', b"3,6\n"]
        assert mysql.told[-1] == b"\x03COMMIT"


def test_a_program_that_is_stopped_within_the_rows_leaves_the_connection(monkeypatch):
    """Its server would take the next statement for rows."""
    real = Connection.write_packet

    def stopped(self, body):
        if bytes(body).startswith(b"1,"):
            raise KeyboardInterrupt
        real(self, body)

    monkeypatch.setattr(Connection, "write_packet", stopped)
    with server(b"\xfbrows") as mysql:
        with pytest.raises(KeyboardInterrupt), connect(mysql.url).begin() as db:
            bulk.load(db, PAIRS, ROWS)
        assert b"LOAD DATA" in mysql.told[-1]
