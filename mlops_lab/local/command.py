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


class Commands(typer.core.TyperGroup):
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
