"""The errors that users see. The text of each one is a single line that says what to do next."""

from typing import Any


class LabError(Exception):
    """Something the person can act on. Its text is one line; the traceback is for the log."""


class UseCaseError(LabError):
    """A file in the use-case folder can't be used, or a use case of that name doesn't exist."""


class ContractError(LabError):
    """Rows that break the contract.

    problems: one entry for each fault, `{"row": int, "field": str, "rule": str, "message": str}`.
    """

    def __init__(self, problems: list[dict[str, Any]]) -> None:
        self.problems = problems
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"row {first['row']}: {first['field']} {first['message']}{more}")


class ModelError(LabError):
    """A model can't be built, registered, loaded or trusted."""


class NoChampionError(ModelError):
    """The use case has no champion, or none that can be served."""


def first_line(error: Exception, limit: int = 300, *, with_class: bool = False) -> str:
    """The first line of an error's text, cut at `limit` characters; the name of its class when it has no text.

    Of a database error it is the driver's own text, without the statement that SQLAlchemy adds.
    with_class: whether the name of the class stands before the text, as in "KeyError: 'price'".
    """
    name = type(error).__name__
    text = str(getattr(error, "orig", None) or error).strip()
    # An error without text, as most time-outs are, has only its class: it is named once.
    if not text:
        return name
    line = text.splitlines()[0]
    return (f"{name}: {line}" if with_class else line)[:limit]
