"""What every command shares: the Typer app, its arguments, and the opened lab."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from getpass import getuser
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mlops_lab.errors import LabError
from mlops_lab.local.command import Commands, err, out
from mlops_lab.local.signals import raise_if_stopped

if TYPE_CHECKING:
    from mlops_lab.lab import Lab
    from mlops_lab.settings import Settings
    from mlops_lab.use_case import UseCase


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help=(
        "Trains, judges and serves models on this machine, batch by batch: from your own table, or from the data sets "
        "of the lab.\n\nA first round: `lab new houses.csv --target price`, `lab run houses`, `lab status`, "
        "`lab predict houses`. The whole lab with its web pages: `lab demo`."
    ),
    epilog=(
        "Exit status: 0 done, 1 an error, 2 a wrong argument or setting, 130 stopped. "
        "LAB_DEBUG=1 shows the traceback of an error."
    ),
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"lab {version('mlops-lab')}")
        raise typer.Exit


@app.callback()
def main(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options of the command itself."""


def use_case_names(incomplete: str) -> list[str]:
    """For the shell's completion: without a lab there is nothing to say, and no error either."""
    from mlops_lab.settings import Settings

    try:
        return [name for name in use_cases_of(Settings())[0] if name.startswith(incomplete)]
    except LabError:
        return []


UseCaseName = Annotated[
    str,
    typer.Argument(help="name of a use case; `lab use-cases` lists them", autocompletion=use_case_names),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


# The next ones are here because `--help` and the shell's completion must not wait for pydantic and numpy.


def read_settings() -> "Settings":
    """The settings of the environment. A lab that was found in a folder above is named."""
    from mlops_lab.settings import HOME, Settings

    settings = Settings()
    if "home" not in settings.model_fields_set and settings.home != HOME:
        err.print(f"[dim]the lab in {escape(str(settings.home))}[/dim]", soft_wrap=True)
    return settings


def need_lab(settings: "Settings") -> "Settings":
    """The same settings. Raises `LabError` when they have no lab, so that a question makes no empty one."""
    if not settings.has_lab:
        raise LabError(
            f"there is no lab in {Path.cwd()} or above it; change to the folder that has {settings.home}, "
            "or set LAB_HOME; `make demo` and `lab run NAME` begin one"
        )
    return settings


def use_case_of(settings: "Settings", name: str) -> "UseCase":
    """The use case of this name in the folder. Raises `UseCaseError`."""
    from mlops_lab.use_case import get_use_case

    return get_use_case(settings.use_cases, name)


def use_cases_of(settings: "Settings") -> "tuple[dict[str, UseCase], dict[str, str]]":
    """(use cases by name, faults by file) of the folder."""
    from mlops_lab.use_case import read_use_cases

    return read_use_cases(settings.use_cases)


def open_lab(
    settings: "Settings",
    progress: Callable[[str], None] = lambda _: None,
    new: bool = False,
    step: Callable[[str, int, int], None] = lambda *_: None,
) -> "Lab":
    """The lab of a command. Each line of progress is also a moment at which a Ctrl-C ends the command.

    new: whether the command may begin one. step: as `Lab` has it. Raises `LabError` where there is none.
    """
    from mlops_lab.lab import Lab

    if not new:
        need_lab(settings)

    def line(text: str) -> None:
        raise_if_stopped()
        progress(text)

    return Lab(settings, line, step)


@contextmanager
def reading_lab() -> Iterator["Lab"]:
    """The lab of a command that only reads. A person waits for it, so it soon gives up a service that hangs."""
    from mlops_lab.model.waits import brief_waits

    with brief_waits():
        yield open_lab(read_settings())


def this_person() -> str:
    """Who runs the command, for the records: the login name, or the number of a user without one."""
    try:
        return getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        return f"user {os.getuid()}"


def show_faults(faults: dict[str, str]) -> None:
    """Says which files of the folder of use cases can't be used, and why."""
    for file, fault in faults.items():
        err.print(f"[red]{escape(file)} can't be used:[/red] {escape(fault)}", soft_wrap=True)


def print_json(value: Any) -> None:
    """Prints the value for programs; what JSON doesn't have, such as a time, as its text."""
    print(json.dumps(value, indent=1, default=str))


def coloured(text: str) -> Text:
    """The line, on a terminal with the words of decisions in colour."""
    from mlops_lab.local.terminal import Words

    return Words()(text)


def print_line(text: str) -> None:
    """Prints a line of progress or of a report; a terminal keeps its indent where it breaks the line."""
    from mlops_lab.local.terminal import wrapped

    said = text.lstrip(" ")
    wrapped(out, coloured(said), " " * (len(text) - len(said)))


def lines_beside(as_json: bool) -> Callable[[str], None]:
    """Where lines of progress go: beside JSON, not into it."""
    return err.print if as_json else print_line


@contextmanager
def working(what: str) -> Iterator[Callable[[str, int, int], None]]:
    """In the block a terminal's last line says what is going on; what is given back tells it the next step."""
    from mlops_lab.local.terminal import Working

    # Beneath the lines that are printed; when these go to a file, beneath the messages.
    with Working(out if out.is_terminal else err, what) as shown:
        yield shown.step
