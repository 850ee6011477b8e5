"""The one line that is left of an error, in logs and in messages."""

import errno
import os

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError

from mlops_lab.errors import LabError, ServiceError, first_line, foreign_errors_as_lines

REFUSED = OperationalError("SELECT 1", None, Exception("(2003, \"Can't connect to 'mysql'\")"))


@pytest.mark.parametrize(
    ("error", "line", "with_class"),
    [
        (ValueError("\nbad price\nat row 7"), "bad price", "ValueError: bad price"),
        (TimeoutError(), "TimeoutError", "TimeoutError"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
        (
            REFUSED,
            "(2003, \"Can't connect to 'mysql'\")",
            "OperationalError: (2003, \"Can't connect to 'mysql'\")",
        ),
    ],
    ids=["lines", "no text", "blank text", "SQLAlchemy's statement"],
)
def test_an_error_is_one_line_and_its_class_is_named_once(error, line, with_class):
    assert first_line(error) == line
    assert first_line(error, with_class=True) == with_class


def test_a_long_line_is_cut():
    assert first_line(ValueError("x" * 1000)) == "x" * 300
    assert first_line(ValueError("x" * 1000), 20, with_class=True) == "ValueError: " + "x" * 8


def test_a_login_in_an_address_is_left_out():
    fault = ConnectionError(
        "no reply of http://ana:of-this-test@data:8081/x, mysql://root:of-this-test@db/RawData"
    )
    assert first_line(fault) == "no reply of http://***@data:8081/x, mysql://***@db/RawData"


def of_the_system(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/lab/x")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (REFUSED, r"a database fails: \(2003, .*LAB_RAW_DB_URL"),
        (MlflowException("no connection\nto http"), r"MLflow fails: no connection; .*LAB_MLFLOW_URL"),
        (of_the_system(errno.ENOSPC), "^/lab/x: No space left on device; free disk space, then run again$"),
        (of_the_system(errno.EROFS), "^/lab/x: Read-only file system; make it writable, or set LAB_HOME"),
        (of_the_system(errno.EEXIST), "^/lab/x: File exists; remove that file, or set LAB_HOME to a folder"),
        (TimeoutError(), "^TimeoutError; remove the cause, then run again$"),
    ],
    ids=["database", "MLflow", "disk full", "read-only", "a file", "no text"],
)
def test_a_foreign_error_is_a_service_error_of_one_line(error, line):
    with pytest.raises(ServiceError, match=line) as raised, foreign_errors_as_lines():
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [LabError("a line of its own"), KeyError("a fault of the code"), BrokenPipeError()]
)
def test_every_other_error_stays_as_it_is(error):
    with pytest.raises(type(error)) as raised, foreign_errors_as_lines():
        raise error
    assert raised.value is error
