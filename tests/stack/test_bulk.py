"""The worker writes many rows at once into the stack's MySQL, with the right to insert and none to files."""

import pytest

from mlops_lab.settings import REPOSITORY
from tests.stack.stack import PATIENCE

pytestmark = [pytest.mark.stack, pytest.mark.timeout(4 * PATIENCE)]

# Run in the worker, with its account.
PROGRAM = (
    (REPOSITORY / "tests" / "support" / "odd_rows.py").read_text()
    + """
import logging, sys
from pathlib import Path

from mlops_lab.data.database import connect

logging.basicConfig(stream=sys.stdout, format="%(message)s")
engine = connect(Path("/secrets/lab_raw_db_url").read_text())
check(engine)
borrowed = engine.raw_connection()
connection = borrowed.driver_connection
borrowed.detach()
try:
    connection.cursor().execute("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE batches")
except Exception as error:
    print("another file:", error)
"""
)


def test_odd_rows_come_back_and_no_other_file_is_sent(stack):
    said = stack.run_in("airflow-worker", "python", "-c", PROGRAM)
    assert "another file: **WARN**: Received LOAD_LOCAL packet but local_infile option is false." in said
    assert "INSERT" not in said


def test_without_the_servers_setting_the_same_rows_are_inserted(stack):
    stack.root_sql("SET GLOBAL local_infile = OFF")
    try:
        said = stack.run_in("airflow-worker", "python", "-c", PROGRAM)
    finally:
        stack.root_sql("SET GLOBAL local_infile = ON")
    assert (
        said.count(
            "takes no LOAD DATA LOCAL (its setting local_infile is off), so rows are written by INSERT"
        )
        == 1
    )
    assert "another file:" in said
