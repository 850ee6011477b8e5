"""`make notebooks`: executes every notebook, headless, against a small lab that is booted for it."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from mlops_lab.errors import LabError
from mlops_lab.local import embedded
from mlops_lab.local.signals import ended_by_signal
from mlops_lab.local.small_lab import small_lab
from mlops_lab.settings import Settings

FOLDER = Path(__file__).resolve().parent
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
TIMEOUT = 300  # seconds that a cell may take


class NotebookError(LabError):
    """A cell failed."""


def main() -> int:
    """Exit code 0 when every notebook ran to its end."""
    parser = argparse.ArgumentParser(prog="make notebooks", description=__doc__)
    parser.add_argument("--use-case", default="housing", help="(%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("reports/notebooks"), help="executed copies (%(default)s)"
    )
    arguments = parser.parse_args()
    try:
        with ended_by_signal(), small_lab([arguments.use_case], batches=2) as settings:
            for path in NOTEBOOKS:
                print(f"{path.name} …", flush=True)
                execute(path, arguments.out / path.name, environment(settings))
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(f"{len(NOTEBOOKS)} notebooks ran to their end; the executed copies are in {arguments.out}")
    return 0


def environment(settings: Settings) -> dict[str, str]:
    """The variables of a kernel in this lab."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("LAB_")}
    return (
        own
        | embedded.QUIET
        | embedded.lab_env(settings)
        | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    )


def execute(path: Path, out: Path, variables: dict[str, str]) -> nbformat.NotebookNode:
    """Runs one notebook in a kernel with these variables and keeps the executed copy, also of one that failed.

    Raises `NotebookError` naming the cell and its error.
    """
    notebook = nbformat.read(path, as_version=4)
    options = {"timeout": TIMEOUT, "kernel_name": "python3", "extra_arguments": ["--log-level=ERROR"]}
    client = NotebookClient(notebook, resources={"metadata": {"path": str(FOLDER)}}, **options)
    try:
        client.execute(env=variables)
    except CellExecutionError as error:
        raise NotebookError(
            f"{path.name}, cell {_failed(notebook)}: {error.ename}: {error.evalue}"
        ) from error
    except CellTimeoutError as error:
        raise NotebookError(f"{path.name}: a cell takes over {TIMEOUT} s") from error
    finally:
        out.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out)
    return notebook


def texts(notebook: nbformat.NotebookNode) -> Sequence[str]:
    """Everything that the cells print, one entry an output."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found.append(
                output.get("text")
                or output.get("data", {}).get("text/plain")
                or "\n".join(output.get("traceback", []))
            )
    return found


def _failed(notebook: nbformat.NotebookNode) -> str:
    for cell in notebook.cells:
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            return f"«{cell.source.strip().splitlines()[0][:80]}»"
    return "?"


if __name__ == "__main__":
    sys.exit(main())
