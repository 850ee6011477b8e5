"""What every command of `lab` has: its output, one line for an error, an end by signal, and private files."""

import os
import traceback
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from mlops_lab.errors import LabError, foreign_errors_as_lines
from mlops_lab.local.signals import ended_by_signal

out, err = Console(highlight=False), Console(stderr=True, highlight=False)


class Command(typer.core.TyperCommand):
    """A command whose help shows arguments in capitals, and no value beside a flag, which takes none."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        # Braces would read like a choice.
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class Group(typer.core.TyperGroup):
    """A group of such commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))


class Commands(Group):
    """An error that a person can act on is one line and an exit status; LAB_DEBUG=1 prints its traceback first."""

    def invoke(self, ctx: Any) -> Any:
        # The rows of a lab may be patients': nobody else on this machine reads what a command or its services write.
        before = os.umask(0o077)
        try:
            with ended_by_signal(), foreign_errors_as_lines():
                return super().invoke(ctx)
        except LabError as error:
            # Here, because reading the settings' library would slow down `--help`.
            from mlops_lab.settings import Settings, SettingsError

            if not isinstance(error, SettingsError) and Settings().debug:
                err.print(traceback.format_exc(), markup=False, soft_wrap=True)
            err.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(2 if isinstance(error, SettingsError) else 1) from None
        except KeyboardInterrupt:
            err.print("stopped")
            raise typer.Exit(130) from None
        finally:
            os.umask(before)


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_bool_flag", False):
            param.metavar = ""
        elif isinstance(param, typer.core.TyperArgument):
            param.metavar = param.name.upper()
    return params
