"""The processes that tests start, all through the lab's own supervisor."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlops_lab.local.processes import Process, Supervisor, free_ports
from mlops_lab.settings import REPOSITORY
from tests.support.labs import Templates

# The command `lab`.
LAB = str(Path(sys.executable).parent / "lab")
# The API key of the pages' tests: their service requires it, so a caller that forgets it fails.
KEY = "the-api-key-of-the-pages"
# Another one, which may read the prediction log, too.
READING_KEY = "the-api-key-of-an-auditor"
# Seconds until something must have happened. The machine may be busy with other work.
PATIENCE = float(os.environ.get("LAB_TEST_PATIENCE", 90))


def environment() -> dict[str, str]:
    """This process's variables without those that point to a lab."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("LAB_", "MLFLOW_"))}


def keyed() -> dict[str, str]:
    """The same with the API key."""
    return environment() | {"LAB_API_KEY": KEY}


def server(name: str, command: list[str], folder: Path, health: str, **variables: str) -> Process:
    """A server of this Python on a free port, run in the folder. `{port}` in the command becomes its port."""
    port = free_ports(1)[0]
    filled = [sys.executable, *(part.format(port=port) for part in command)]
    return Process(name, filled, variables, f"http://127.0.0.1:{port}", health, cwd=folder)


def inference(name: str, home: Path, health: str = "/ready", **more: str) -> Process:
    """The inference service of the lab in `home`; it checks for a new champion every second. more: variables."""
    command = ["-m", "inference", "--host", "127.0.0.1", "--port", "{port}"]
    return server(name, command, home, health, LAB_HOME=str(home), LAB_INFERENCE_POLL="1", **more)


def mlflow(folder: Path, store: str, **more: str) -> Process:
    """MLflow's server on a store. more: variables."""
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"]
    command += ["--backend-store-uri", store]
    return server("mlflow", command, folder, "/health", MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", **more)


def streamlit(name: str, folder: Path, inference_url: str, mlflow_url: str, **more: str) -> Process:
    """The pages against these services, by Streamlit's own command. more: variables."""
    app = str(REPOSITORY / "streamlit" / "app.py")
    command = ["-m", "streamlit", "run", app, "--server.port", "{port}", "--server.address", "127.0.0.1"]
    variables = {"LAB_INFERENCE_URL": inference_url, "LAB_MLFLOW_URL": mlflow_url, **more}
    return server(name, command, folder, "/_stcore/health", **variables)


def stack_mlflow(folder: Path, templates: Templates) -> tuple[Process, dict[str, str]]:
    """MLflow by its program of the stack, on SQLite below the folder, and its variables; `folder/secrets` is made."""
    (folder / "secrets").mkdir(parents=True)
    templates.copy_empty(folder / "store")
    (folder / "secrets" / "backend-url").write_text(f"sqlite:///{folder}/store/mlflow.db")
    [port] = free_ports(1)
    command = ["sh", str(REPOSITORY / "mlflow" / "start"), "--host", "127.0.0.1", "--port", str(port)]
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LAB_SECRETS_DIR": str(folder / "secrets"),
        "GIT_PYTHON_REFRESH": "quiet",
    }
    return Process("mlflow", command, url=f"http://127.0.0.1:{port}", cwd=folder), variables


def started(supervisor: Supervisor, process: Process) -> Process:
    """Starts the process, waits until it is healthy, and returns it."""
    supervisor.start(process)
    supervisor.wait(process)
    return process


def away() -> str:
    """An address where nothing answers: a connection is refused at once."""
    return f"http://127.0.0.1:{free_ports(1)[0]}"


@contextmanager
def silent_address() -> Iterator[str]:
    """`host:port` of a server that accepts connections and never sends a byte."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"127.0.0.1:{silent.getsockname()[1]}"
