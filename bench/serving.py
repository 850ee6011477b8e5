"""The cost of one prediction over HTTP: the service as shipped against a FastAPI route that returns a constant.

`python bench/serving.py` starts these servers, one process each, and sends them requests in turns, over one connection
to each:
- service: the service as shipped. The rows are logged, counted and compared with the training rows for drift.
- fastapi: the same, with FastAPI's own routes instead of Starlette's for `/predict`, `/explain` and `/feedback`.
- constant: a FastAPI route that returns a constant.
It prints medians of the server's own CPU time and of the time to the reply, in microseconds a request.

The cost of counting (requests, latencies, rows, drift) is less than the difference between two starts of one server. So
a fourth server measures the time of those calls themselves, inside the running service.
"""

import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from bench_model import publish

from mlops_lab.local.processes import Process, Supervisor, free_ports

ROUNDS, REQUESTS = 7, 1500
CONSTANT = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def constant():
    return {"predictions": [1.0]}
uvicorn.run(app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="error")
"""
FASTAPI = """
import inference.app
from fastapi.routing import APIRoute
from inference.__main__ import main
inference.app.Route = APIRoute
main()
"""
TIMED = """
from time import thread_time_ns
from inference.__main__ import main
from inference.metrics import Metrics
from mlops_lab.model.drift import DriftCounter
spent = {"metrics": 0, "drift": 0}
def timed(name, method):
    def call(*arguments):
        began = thread_time_ns()
        method(*arguments)
        spent[name] += thread_time_ns() - began
    return call
Metrics.answered = timed("metrics", Metrics.answered)
DriftCounter.add = timed("drift", DriftCounter.add)
Metrics.text = lambda self: f"{spent['metrics']} {spent['drift']}".encode()
main()
"""
COMMANDS = {
    "service": ["-m", "inference"],
    "fastapi": ["-c", FASTAPI],
    "constant": ["-c", CONSTANT],
    "timed": ["-c", TIMED],
}


def main() -> None:
    """Runs the comparison and prints one line for each server, their ratios, and what counting costs."""
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder) / "logs") as supervisor:
        contract = publish(Path(folder))
        environment = {"LAB_HOME": folder, "LAB_DEFAULT_USE_CASE": "bench"}
        row = json.dumps(contract.example).encode()
        predict = ("POST", "/predict", row, {"Content-Type": "application/json"})
        asks = dict.fromkeys(COMMANDS, predict) | {"constant": ("GET", "/", None, {})}
        ports = dict(zip(COMMANDS, free_ports(len(COMMANDS)), strict=True))
        servers = {}
        for name, command in COMMANDS.items():
            # Each replica has a subfolder of the spool, but the models are downloaded to one folder.
            variables = environment | {"LAB_INFERENCE_MODELS": f"{folder}/models-{name}"}
            process = Process(name, [sys.executable, *command, "--port", str(ports[name])], variables)
            servers[name] = supervisor.start(process)
        connections = {name: _wait(ports[name], asks[name]) for name in COMMANDS}

        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
        counting = []
        for _ in range(ROUNDS + 1):
            for name, server in servers.items():
                before = _spent(connections["timed"]) if name == "timed" else 0
                costs[name].append(_measure(server.pid, connections[name], asks[name]))
                if name == "timed":
                    counting.append((_spent(connections["timed"]) - before) / REQUESTS / 1000)
        # The first round warms up.
        medians = {name: np.median(rounds[1:], axis=0) for name, rounds in costs.items()}
        for name in ("service", "fastapi", "constant"):
            cpu, lapse = medians[name]
            memory = psutil.Process(servers[name].pid).memory_full_info().pss / 2**20
            print(f"{name:9} CPU {cpu:6.0f} µs   reply after {lapse:6.0f} µs   memory {memory:4.0f} MiB")
        cpu, lapse = medians["constant"] / medians["service"]
        print(f"of the constant's rate: {cpu:.2f} by CPU, {lapse:.2f} by time")
        pairs = [f[0] / s[0] for f, s in zip(costs["fastapi"][1:], costs["service"][1:], strict=True)]
        print(f"with FastAPI's routes: {statistics.median(pairs):.2f} times the CPU")
        metrics, drift = np.median(counting[1:], axis=0)
        print(f"of which counting: CPU {metrics + drift:.1f} µs (metrics {metrics:.1f}, drift {drift:.1f})")


def _measure(pid: int, connection: http.client.HTTPConnection, ask: tuple) -> tuple[float, float]:
    """(CPU time of the server, time to the reply) in microseconds a request."""
    # A server closes a connection that was idle for some seconds.
    connection.close()
    _ask(connection, ask)
    before = psutil.Process(pid).cpu_times()
    lapses = []
    for _ in range(REQUESTS):
        sent = time.perf_counter()
        _ask(connection, ask)
        lapses.append(time.perf_counter() - sent)
    after = psutil.Process(pid).cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return cpu / REQUESTS * 1e6, statistics.median(lapses) * 1e6


def _spent(connection: http.client.HTTPConnection) -> np.ndarray:
    """Nanoseconds of CPU that the timed server has spent on (metrics, drift)."""
    connection.close()
    return np.array(_ask(connection, ("GET", "/metrics", None, {})).split(), dtype=float)


def _ask(connection: http.client.HTTPConnection, ask: tuple) -> bytes:
    connection.request(*ask)
    reply = connection.getresponse()
    body = reply.read()
    if reply.status != 200:
        raise OSError(f"{ask[1]} answers {reply.status}")
    return body


def _wait(port: int, ask: tuple) -> http.client.HTTPConnection:
    """A connection to a server that answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    end = time.monotonic() + 120
    while True:
        try:
            _ask(connection, ask)
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > end:
                raise SystemExit(f"nothing answers on port {port}: {error}") from None
        time.sleep(0.2)


if __name__ == "__main__":
    main()
