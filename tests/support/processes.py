"""A real process that a test starts and reaches over HTTP."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = float(
    os.environ.get("LAB_TEST_PATIENCE", 90)
)  # seconds: the machine may be busy with something else


class Service:
    """One real process that is reached over HTTP, in a process group of its own."""

    def __init__(
        self, name: str, command: list[str], ready: str, folder: Path, port: int, **environment: str
    ):
        self.name, self.command, self.ready, self.port = name, command, ready, port
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / f"{name}.log"
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("LAB_", "MLFLOW_"))
        } | environment
        self.process: subprocess.Popen | None = None

    def start(self) -> "Service":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.log.parent,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(self.url + self.ready, timeout=5).status_code == 200:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        self.stop()
        pytest.fail(f"{self.name} didn't become ready:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        if self.process is None:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
            except ProcessLookupError:
                break
            try:
                self.process.wait(15)
                if sign == signal.SIGTERM:
                    continue  # its children too
            except subprocess.TimeoutExpired:
                continue
        self.process.wait(15)
        self.process = None


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
