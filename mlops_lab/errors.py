"""The errors that users see. The text of each one is a single line that says what to do next."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The user and password of an address, as in `http://user:password@host`.
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")

# MLflow's codes for a request that it refuses.
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")


class LabError(Exception):
    """Something the person can act on. Its text is one line; the traceback is for the log."""


class ServiceError(LabError):
    """A service fails that the lab needs: a database, MLflow, the object store, the disk. A later try can succeed."""


class UseCaseError(LabError):
    """A file in the use-case folder can't be used, or a use case of that name doesn't exist."""


# Problems of a row in one line.
TOLD = 5


class ContractError(LabError):
    """Rows that break the contract.

    problems: one entry for each fault, `{"row": int, "field": str, "rule": str, "message": str}`.
    more:     whether the check stopped after these, so that there may be further ones.
    """

    def __init__(self, problems: list[dict[str, Any]], more: bool = False) -> None:
        self.problems, self.more = problems, more
        row = problems[0]["row"]
        told = [f"{one['field']} {one['message']}" for one in problems[:TOLD] if one["row"] == row]
        others = len(problems) - len(told)
        text = f" (and {'at least ' if more else ''}{others} more)" if others else ""
        super().__init__(f"row {row}: {'; '.join(told)}{text}")


class ModelError(LabError):
    """A model can't be built, registered, loaded or trusted."""


class SignatureError(ModelError):
    """A version isn't signed by the lab's key. No batch's fault: after `lab sign` the same batch goes on."""


class NoChampionError(ModelError):
    """The use case has no champion, or none that can be served."""


@contextmanager
def foreign_errors_as_lines() -> Iterator[None]:
    """An error of MLflow, a database or the disk in the block becomes a `ServiceError`; every other one passes.

    It becomes a plain `LabError` when the service refuses the request: then a later try can't succeed.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, LabError) or (line := _foreign(error)) is None:
            raise
        if type(error).__name__ == "DataError" or getattr(error, "error_code", "") in _REFUSALS:
            raise LabError(f"a request is refused: {first_line(error)}") from error
        raise ServiceError(line) from error


def _foreign(error: Exception) -> str | None:
    # The classes are recognised by their package, because importing MLflow takes seconds.
    packages = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    if "mlflow" in packages:
        return f"MLflow fails: {first_line(error)}; check that it runs (LAB_MLFLOW_URL), then run again"
    if "sqlalchemy" in packages:
        return f"a database fails: {first_line(error)}; check that it runs (LAB_RAW_DB_URL, LAB_HOME), then run again"
    # The reader of the output has gone: click ends the command without a message.
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return None
    place = f"{error.filename}: " if error.filename else ""
    what = {
        errno.ENOSPC: "free disk space",
        errno.EDQUOT: "free disk space",
        errno.EROFS: "make it writable, or set LAB_HOME to another folder",
        errno.EACCES: "make it writable, or set LAB_HOME to another folder",
        errno.EEXIST: "remove that file, or set LAB_HOME to a folder",
        errno.ENOTDIR: "remove that file, or set LAB_HOME to a folder",
    }.get(error.errno or 0, "remove the cause")
    return f"{place}{error.strerror or first_line(error, with_class=True)}; {what}, then run again"


def without_login(text: str) -> str:
    """The text with `***` in place of the user and password of each address in it."""
    return _LOGIN.sub("***@", text)


def without_number(error: Exception) -> str:
    """The text of a connection's error without the system's number, which says nothing to a reader."""
    return re.sub(r"\[Errno -?\d+\] ", "", str(error))


def first_line(error: Exception, limit: int = 300, *, with_class: bool = False) -> str:
    """The first line of an error's text, cut at `limit` characters; the name of its class when it has no text.

    Of a database error it is the driver's own text, without the statement that SQLAlchemy adds. Logins in addresses
    are left out.
    with_class: whether the name of the class stands before the text, as in "KeyError: 'price'".
    """
    name = type(error).__name__
    if name == "ValidationError" and callable(found := getattr(error, "errors", None)):
        return _invalid(error, found())[:limit]
    text = str(getattr(error, "orig", None) or error).strip()
    # An error without text, as most time-outs are, has only its class: it is named once.
    if not text:
        return name
    line = without_login(text.splitlines()[0])
    return (f"{name}: {line}" if with_class else line)[:limit]


def _invalid(error: Exception, problems: list[dict[str, Any]]) -> str:
    """The first problem that pydantic found, by class and field: its own text begins with their number."""
    first, more = problems[0], len(problems) - 1
    place = ".".join(map(str, (getattr(error, "title", ""), *first["loc"])))
    return f"{place}: {first['msg']}" + (f" (and {more} more)" if more else "")
