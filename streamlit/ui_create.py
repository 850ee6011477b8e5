"""Writes a drafted use case by `lab new` in a process of its own: the page itself imports and runs no use case."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ui_settings import settings

from mlops_lab.contract import USE_CASE_NAME
from mlops_lab.errors import LabError

# Seconds that it may take.
SECONDS = 300


class CreateError(LabError):
    """The use case can't be written. The text says why."""


def can_create() -> bool:
    """Whether this page may write use cases and data: in the lab without Docker, on this machine alone."""
    folders = (settings().use_cases, settings().data_folder)
    return all(folder is not None and folder.is_dir() and os.access(folder, os.W_OK) for folder in folders)


def create(file: Path, target: str, name: str, more: Mapping[str, Any]) -> str:
    """Writes the use case and its data; returns what `lab new` said. Nothing that exists is overwritten.

    file: the table. more: the other options of `lab new`, by name: a text, or a list of texts. Raises `CreateError`.
    """
    if not can_create() or not USE_CASE_NAME.fullmatch(name):
        raise CreateError("this page can't write that use case")
    # An option and its value are one word, so that no value is taken for an option.
    words = [f"--{option}={value}" for option, values in more.items() for value in _list(values)]
    command = [sys.executable, "-m", "mlops_lab.cli", "new", f"--target={target}", f"--name={name}", *words]
    folders = {"LAB_USE_CASES": str(settings().use_cases), "LAB_DATOS_FOLDER": str(settings().data_folder)}
    try:
        done = subprocess.run(
            [*command, "--", str(file)],
            env=os.environ | folders | {"COLUMNS": "120", "NO_COLOR": "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=SECONDS,
        )
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: a column's name with a character that no program takes
        raise CreateError(f"`lab new` can't be started: {error}") from error
    except subprocess.TimeoutExpired:
        raise CreateError(f"`lab new` took over {SECONDS} s; call it in a terminal") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise CreateError(said[-1].removeprefix("error: ").removesuffix(" by --name"))
    return done.stdout


def _list(values: Any) -> list[str]:
    return [values] if isinstance(values, str) else list(values or ())
