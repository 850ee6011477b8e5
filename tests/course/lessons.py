"""The lessons of `docs/course`, read and run: every `sh` block in the order of the text, in one shell a lesson.

A block may be marked behind its language: `sh terminal=2` runs beside the others until the lesson ends, `sh fails` must
end with an error. The `text` block after it has the lines that its output must have, in this order; `…` is any text.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from mlops_lab.local.processes import free_ports
from mlops_lab.settings import AIRFLOW_PORT, DATA_API_PORT, INFERENCE_PORT, MLFLOW_PORT, REPOSITORY

FOLDER = REPOSITORY / "docs" / "course"
FENCE = re.compile(r"^```(sh|text)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORTS = {
    "LAB_AIRFLOW_PORT": AIRFLOW_PORT,
    "LAB_DATA_API_PORT": DATA_API_PORT,
    "LAB_MLFLOW_PORT": MLFLOW_PORT,
    "LAB_INFERENCE_PORT": INFERENCE_PORT,
}
# Seconds until a service in the second terminal must have printed its lines; seconds of a whole lesson.
PATIENCE, LESSON = 120.0, 600.0


@dataclass
class Block:
    """One command block, and the lines that it must print."""

    code: str
    second: bool
    fails: bool
    expected: list[str] = field(default_factory=list)


def lessons(folder: Path = FOLDER) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9]-*.md"))


def blocks(text: str) -> list[Block]:
    """The blocks of a lesson. Raises `ValueError` for a block of another language, which nobody would run."""
    if others := set(re.findall(r"^```(\w+)", text, re.MULTILINE)) - {"sh", "text"}:
        raise ValueError(f"no block of the language {', '.join(sorted(others))} is run")
    found: list[Block] = []
    for language, marks, body in FENCE.findall(text):
        if language == "sh":
            found.append(Block(body, "terminal=2" in marks, "fails" in marks))
        else:
            found[-1].expected += [line.strip() for line in body.splitlines() if line.strip(" …")]
    return found


def missing(expected: list[str], output: str) -> str | None:
    """The first line that the output doesn't have at its place. White space counts as one space."""
    rest = " ".join(output.split())
    for line in expected:
        pattern = r".*?".join(re.escape(" ".join(part.split())) for part in line.split("…"))
        found = re.search(pattern, rest)
        if found is None:
            return line
        rest = rest[found.end() :]
    return None


class Workspace:
    """A folder that looks like the repository, with a `.course` of its own and free ports."""

    def __init__(self, folder: Path):
        self.folder = folder
        for path in REPOSITORY.iterdir():
            if path.name not in (".lab", ".course", ".venv"):
                (folder / path.name).symlink_to(path)
        (folder / ".venv").symlink_to(Path(sys.prefix))
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))

    def run(self, lesson: Path) -> None:
        """Runs every block of the lesson. Raises `AssertionError` with the block and its output."""
        out = self.folder / f"out-{lesson.stem}"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        shell = self._start("exec bash --norc -s", stdin=subprocess.PIPE, text=True)
        second: list[subprocess.Popen] = []
        try:
            for number, block in enumerate(blocks(lesson.read_text())):
                printed = out / f"{number}.txt"
                if block.second:
                    second.append(self._start(f"exec >{printed} 2>&1\n{self._moved(block.code)}"))
                    self._wait(block, printed, second[-1])
                    continue
                status = out / f"{number}.status"
                shell.stdin.write(f"exec >{printed} 2>&1\n{self._moved(block.code)}\necho $? >{status}\n")
                shell.stdin.flush()
                self._ended(block, shell, printed, status)
        finally:
            for process in (shell, *second):
                _end(process)

    def _ended(self, block: Block, shell: subprocess.Popen, printed: Path, status: Path) -> None:
        end = time.monotonic() + LESSON
        while not (status.exists() and status.read_text()):
            assert shell.poll() is None, f"the shell ended in\n{block.code}\n{printed.read_text()}"
            assert time.monotonic() < end, f"this takes too long:\n{block.code}\n{printed.read_text()}"
            time.sleep(0.05)
        output = printed.read_text()
        assert (status.read_text().strip() != "0") == block.fails, f"{block.code}\n{output}"
        absent = missing(block.expected, output)
        assert absent is None, f"`{absent}` isn't in the output of\n{block.code}\n{output}"

    def _wait(self, block: Block, printed: Path, process: subprocess.Popen) -> None:
        """Until the second terminal shows what the lesson tells to wait for."""
        printed.touch()
        end = time.monotonic() + PATIENCE
        while absent := missing(block.expected, printed.read_text()):
            said = f"`{absent}` isn't in the output of\n{block.code}\n{printed.read_text()}"
            assert process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.1)

    def _moved(self, code: str) -> str:
        """The code with the ports of this workspace."""
        for name, port in PORTS.items():
            code = code.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self.ports[name]}")
        return code

    def _start(self, code: str, **more) -> subprocess.Popen:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
        ports = {name: str(port) for name, port in self.ports.items()}
        return subprocess.Popen(
            ["bash", "--norc", "-c", code],
            cwd=self.folder,
            env=kept | ports | {"COLUMNS": "120"},
            start_new_session=True,
            **more,
        )


def _end(process: subprocess.Popen) -> None:
    """Ends the process and what it started, as the closing of its terminal does."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
