"""Starts a service of the lab: flags and settings, log, port, and one line on stderr for a fault.

Exit status: 0 after a stop by signal; 1 when the service can't run, for instance because its port is taken; 2 for a
flag or setting that can't be used.
"""

import argparse
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mlops_lab import logs
from mlops_lab.errors import LabError
from mlops_lab.settings import LabSettings, SettingsError

S = TypeVar("S", bound=LabSettings)


class PortError(LabError):
    """The service can't listen on its address."""


def serve(
    module: str,
    about: str,
    settings_class: type[S],
    run: Callable[[S, socket.socket], None],
    arguments: Sequence[str] | None = None,
) -> int:
    """Runs a service until a signal stops it; returns its exit status.

    A flag sets the field that `settings_class.flags` names, so it is checked as the variable is. `--host` and
    `--port` must be among them. run: gets the settings and a socket that listens on that address.
    """
    parser = _parser(module, about, settings_class)
    flags = settings_class.flags
    try:
        settings = settings_class(**vars(parser.parse_args(arguments)))
        host, port = getattr(settings, flags["--host"]), getattr(settings, flags["--port"])
        with _listen(host, port, settings.variable(flags["--port"])) as listener:
            logs.setup()
            run(settings, listener)
    except LabError as error:
        print(f"{module.rpartition('.')[2]}: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


def _parser(module: str, about: str, settings_class: type[LabSettings]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    for flag, name in settings_class.flags.items():
        field = settings_class.model_fields[name]
        default = f"(default: {settings_class.variable(name)}, or {field.default})"
        options: dict[str, Any] = {"metavar": flag.strip("-").upper()}
        if field.annotation is bool:
            options = {"action": "store_true"}
        parser.add_argument(
            flag,
            dest=name,
            default=argparse.SUPPRESS,
            help=f"{field.description} {default}",
            **options,
        )
    return parser


def _listen(host: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise PortError(
            f"can't listen on {host}:{port} ({error.strerror}); choose another port with --port or {variable}"
        ) from None
    return listener
