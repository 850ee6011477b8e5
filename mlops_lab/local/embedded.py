"""The lab's services without Docker: how each one is started on this machine, under one LAB_HOME."""

import json
import secrets
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx

from mlops_lab.files import OWNER, kept_secret, path_id, write_whole
from mlops_lab.local.processes import Process, Supervisor, free_ports
from mlops_lab.settings import REPOSITORY, Settings

QUIET = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONWARNINGS": "ignore",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "GIT_PYTHON_REFRESH": "quiet",
    # One thread for each library, since a dozen processes share the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def secret(settings: Settings, name: str, size: int = 32) -> str:
    """A random secret, made once and kept under LAB_HOME, readable by its owner alone."""
    return kept_secret(settings.home.resolve() / "secrets" / name, lambda: secrets.token_urlsafe(size))


def mlflow(settings: Settings) -> Process:
    """The tracking server and registry, on SQLite and a folder."""
    port = settings.mlflow_port
    options = {
        "host": settings.bind,
        "port": port,
        "workers": 1,
        "backend-store-uri": settings.mlflow_database,
        "default-artifact-root": settings.mlflow_artifacts,
        "allowed-hosts": ",".join(f"{host}:{port}" for host in ("127.0.0.1", "localhost", settings.bind)),
    }
    command = [sys.executable, "-m", "mlops_lab.model.mlflow_store", settings.mlflow_database]
    command += [*_tool("mlflow"), "server", *(f"--{name}={value}" for name, value in options.items())]
    # Artifacts aren't proxied, so that `lab status` and `lab run` read the same ones when no server runs.
    command.append("--no-serve-artifacts")
    env = QUIET | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Process("MLflow", command, env, _url(settings, port), port_setting="LAB_MLFLOW_PORT")


def data_api_service(settings: Settings, port: int | None = None) -> Process:
    """The Data API. CSV files in its folder replace its synthetic data."""
    home, port = settings.home.resolve(), port or settings.data_api_port
    folder = settings.datos_folder or home / "data"
    # The folder must exist: a user may put a file into it while the lab runs.
    folder.mkdir(parents=True, exist_ok=True)
    env = QUIET | {"LAB_DATOS_STATE": str(home / "data-api.json"), "LAB_DATOS_FOLDER": str(folder)}
    command = [sys.executable, "-m", "datos", "--host", settings.bind, "--port", str(port)]
    return Process("Data API", command, env, _url(settings, port), port_setting="LAB_DATA_API_PORT")


def inference(settings: Settings) -> Process:
    """The serving API."""
    port = settings.inference_port
    command = [sys.executable, "-m", "inference", "--host", settings.bind, "--port", str(port)]
    env = QUIET | lab_env(settings)
    return Process("Inference", command, env, _url(settings, port), port_setting="LAB_INFERENCE_PORT")


def streamlit(settings: Settings, gradio: bool = False) -> Process:
    """The web UI; `streamlit/.streamlit/config.toml` has its other options. gradio: whether that page runs, too."""
    port, app = settings.streamlit_port, str(REPOSITORY / "streamlit" / "app.py")
    command = [*_tool("streamlit"), "run", app]
    command += ["--server.address", settings.bind, "--server.port", str(port)]
    airflow = _url(settings, settings.airflow_port)
    env = QUIET | lab_env(settings) | {"LAB_AIRFLOW_URL": airflow, "LAB_AIRFLOW_API_URL": airflow}
    env |= {"LAB_GRADIO_URL": _url(settings, settings.gradio_port)} if gradio else {}
    if settings.bind in ("127.0.0.1", "localhost"):
        # By a name of its own that leads here, a page of another site would seem to be of the same one.
        command += [f"--server.allowedHosts={host}" for host in ("127.0.0.1", "localhost")]
        if "data_api_url" not in settings.model_fields_set:
            # Only people of this machine reach the page, which has no login: it may write their own data sets.
            env["LAB_DATA_FOLDER"] = str((settings.datos_folder or settings.home / "data").resolve())
    return Process("Streamlit", command, env, _url(settings, port), "/_stcore/health", "LAB_STREAMLIT_PORT")


def gradio(settings: Settings) -> Process:
    """The Gradio page, smaller than the web UI."""
    port = settings.gradio_port
    command = [sys.executable, "-m", "gradio_app", "--host", settings.bind, "--port", str(port)]
    env = QUIET | {
        "LAB_HOME": str(settings.home.resolve()),
        "LAB_INFERENCE_URL": _url(settings, settings.inference_port),
    }
    return Process("Gradio", command, env, _url(settings, port), "/", "LAB_GRADIO_PORT")


def airflow(settings: Settings) -> tuple[Process, list[Process]]:
    """The one-shot that makes Airflow's database, and its three processes.

    Not `airflow standalone`: it leaves its components behind when it is ended.
    """
    port, env = settings.airflow_port, airflow_env(settings)
    tool = _tool("airflow")
    command, health = [*tool, "api-server"], "/api/v2/monitor/health"
    api = Process("Airflow", command, env, _url(settings, port), health, "LAB_AIRFLOW_PORT")
    # Its server of task logs would listen on every address; the API server reads the same files.
    scheduler = Process("Airflow scheduler", _warm("warm_up_tasks", "scheduler", "--skip-serve-logs"), env)
    processor = Process("Airflow dag-processor", _warm("warm_up_dags", "dag-processor"), env)
    return Process("Airflow migration", [*tool, "db", "migrate"], env), [api, scheduler, processor]


def airflow_triggerer(settings: Settings) -> Process:
    """Airflow's fourth component, so that its page has no red one. No task of the lab needs it; it takes 160 MB."""
    return Process(
        "Airflow triggerer", [*_tool("airflow"), "triggerer", "--skip-serve-logs"], airflow_env(settings)
    )


def migrate_airflow(settings: Settings, migrate: Callable[[], None]) -> None:
    """Calls `migrate`, unless the installed release of Airflow has migrated this database: that takes 5 s of CPU."""
    home = settings.home.resolve() / "airflow"
    mark, release = home / "migrated", version("apache-airflow-core")
    if (home / "airflow.db").exists() and mark.exists() and mark.read_text() == release:
        return
    migrate()
    write_whole(mark, release)


def airflow_env(settings: Settings) -> dict[str, str]:
    """Airflow on SQLite with a LocalExecutor of two workers, its state and secrets under LAB_HOME."""
    home = settings.home.resolve() / "airflow"
    home.mkdir(parents=True, exist_ok=True)
    passwords = home / "passwords.json"
    # Written each time: an empty file, or one of another secret, would lock the person out.
    write_whole(passwords, json.dumps({"admin": secret(settings, "airflow_admin", 12)}), 0o600)
    url = _url(settings, settings.airflow_port)
    return (
        QUIET
        | lab_env(settings)
        | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(
                secret(settings, "airflow_fernet")[:32].encode()
            ).decode(),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
            "AIRFLOW__API__HOST": settings.bind,
            "AIRFLOW__API__PORT": str(settings.airflow_port),
            "AIRFLOW__API__BASE_URL": url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secret(settings, "airflow_api"),
            "AIRFLOW__API_AUTH__JWT_SECRET": secret(settings, "airflow_jwt", 64),
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            # A task that closes its sockets a moment before it ends is seen to end after this time; the default is 5 s.
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }
    )


def lab_env(settings: Settings) -> dict[str, str]:
    """The lab's variables for a service of this LAB_HOME."""
    return {
        "LAB_HOME": str(settings.home.resolve()),
        "LAB_USE_CASES": str(settings.use_cases.resolve()),
        "LAB_DEFAULT_USE_CASE": settings.default_use_case,
        "LAB_DATA_API_URL": _data_api_url(settings),
        "LAB_MLFLOW_URL": _url(settings, settings.mlflow_port),
        "LAB_INFERENCE_URL": _url(settings, settings.inference_port),
        "LAB_RELOAD_TOKEN": secret(settings, "reload_token"),
    }


@contextmanager
def data_api(settings: Settings, progress: Callable[[str], None]) -> Iterator[Settings]:
    """Settings with a Data API that answers: the one of LAB_DATA_API_URL, a running one, or one for this block."""
    if "data_api_url" in settings.model_fields_set:
        yield settings
        return
    running = data_api_service(settings)
    if serves(running):
        yield settings.model_copy(update={"data_api_url": running.url + "/{dataset}"})
        return
    process = data_api_service(settings, free_ports(1)[0])
    with Supervisor(settings.home / "logs") as supervisor:
        supervisor.start(process)
        supervisor.wait(process, 60)
        progress(f"no Data API is running; started one for this command at {process.url}")
        yield settings.model_copy(update={"data_api_url": process.url + "/{dataset}"})


def serves(data_api: Process) -> bool:
    """Whether the Data API that answers at this address is the process's own: the one with its file of positions."""
    try:
        reply = httpx.get(f"{data_api.url}{data_api.health}", timeout=5)
    except httpx.HTTPError:
        return False
    return reply.headers.get(OWNER) == path_id(Path(data_api.env["LAB_DATOS_STATE"]))


def _data_api_url(settings: Settings) -> str:
    if "data_api_url" in settings.model_fields_set:
        return settings.data_api_url
    return _url(settings, settings.data_api_port) + "/{dataset}"


def _url(settings: Settings, port: int) -> str:
    return f"http://{settings.bind}:{port}"


def _warm(function: str, *arguments: str) -> list[str]:
    """The command `airflow …` in a process that first calls the function of `warm.py`, and later forks others."""
    code = f"from mlops_lab.local.warm import {function}; {function}(); from airflow.__main__ import main; main()"
    return [sys.executable, "-c", code, *arguments]


def _tool(name: str) -> list[str]:
    """A command of the same environment as this Python."""
    return [str(Path(sys.executable).parent / name)]
