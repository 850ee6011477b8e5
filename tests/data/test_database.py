"""Waits for a database server have a bound, without being asked for."""

import socket
import threading

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from mlops_lab.data.database import connect
from mlops_lab.data.store import Store


@pytest.mark.parametrize("driver", ["mysql+pymysql", "postgresql+psycopg2"])
def test_every_connection_of_the_pipeline_has_limits(driver):
    store, asked = Store(f"{driver}://lab@127.0.0.1:9/RawData", f"{driver}://lab@127.0.0.1:9/CleanData"), []
    for engine in (store.raw, store.clean):
        event.listen(
            engine, "do_connect", lambda _dialect, _record, _arguments, limits: asked.append(dict(limits))
        )
        with pytest.raises(OperationalError):
            engine.connect()
    for limits in asked:
        assert limits["connect_timeout"] == 10
        whole = limits.get("options", "").endswith("statement_timeout=300000")
        assert whole or (limits["read_timeout"], limits["write_timeout"]) == (300, 300)


def test_a_server_that_accepts_and_then_is_silent_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        accepted = []
        threading.Thread(target=lambda: accepted.append(silent.accept()), daemon=True).start()
        engine = connect(f"mysql+pymysql://lab@127.0.0.1:{port}/RawData", statement_timeout=0.2)
        with pytest.raises(OperationalError, match=r"timed out|Lost connection"):
            engine.connect()
        accepted[0][0].close()
