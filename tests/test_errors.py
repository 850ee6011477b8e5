"""The one line that is left of an error, in logs and in messages."""

import pytest
from sqlalchemy.exc import OperationalError

from mlops_lab.errors import first_line

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
