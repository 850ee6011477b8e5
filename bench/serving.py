"""What one prediction over HTTP costs: the service as shipped against a FastAPI route that returns a constant.

`python bench/serving.py` starts both, one process each, and asks them in turns over one kept connection. It reports
medians of the server's own CPU time and of the time to the reply, both in microseconds a request. The model has 47
fields and 100 trees; the rows are logged, counted and watched for drift as always.

What the counting costs (requests, latencies, rows, drift) is less than two processes, or two turns of one, differ by
chance. So a third service takes the time of those calls themselves, where they happen and with whatever the request
before left in the caches; taking it is part of the figure.
"""

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import psutil
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestRegressor
from sqlalchemy import create_engine

from mlops_lab.contract import MODEL_FILE, Category, Contract, Lineage, Number
from mlops_lab.data.tables import RAW
from mlops_lab.model.drift import reference
from mlops_lab.model.registry import CHAMPION, Registry
from mlops_lab.model.tags import VersionTags

ROUNDS, REQUESTS = 7, 1500
NUMBERS, CATEGORIES = 37, 10
CONSTANT = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def constant():
    return {"predictions": [1.0]}
uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="error")
"""
TIMED = """
import sys, threading
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
def tell():
    for _ in sys.stdin:
        print(*spent.values(), flush=True)
threading.Thread(target=tell, daemon=True).start()
main()
"""


def main() -> None:
    """Runs the comparison and prints one line a server, and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        contract = _publish(home)
        ports = {"service": _free_port(), "constant": _free_port()}
        environment = os.environ | {"LAB_HOME": folder, "LAB_DEFAULT_USE_CASE": "bench"}
        with (home / "log").open("w") as log:
            servers = {
                "service": subprocess.Popen(
                    [sys.executable, "-m", "inference", "--port", str(ports["service"])],
                    env=environment,
                    stderr=log,
                ),
                "constant": subprocess.Popen(
                    [sys.executable, "-c", CONSTANT, str(ports["constant"])], stderr=log
                ),
            }
        try:
            row = json.dumps(contract.example).encode()
            asks = {
                "service": ("POST", "/predict", row, {"Content-Type": "application/json"}),
                "constant": ("GET", "/", None, {}),
            }
            open_ = {name: _wait(ports[name], asks[name]) for name in servers}
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
            for _ in range(ROUNDS + 1):
                for name, server in servers.items():
                    found[name].append(_measure(server.pid, open_[name], asks[name]))
            medians = {
                name: [statistics.median(x) for x in zip(*f[1:], strict=True)] for name, f in found.items()
            }
            for name, (cpu, lapse) in medians.items():
                memory = psutil.Process(servers[name].pid).memory_full_info().pss / 2**20
                print(f"{name:9} CPU {cpu:6.0f} µs   reply after {lapse:6.0f} µs   memory {memory:4.0f} MiB")
            cpu, lapse = (medians["constant"][i] / medians["service"][i] for i in (0, 1))
            print(f"of the constant's rate: {cpu:.2f} by CPU, {lapse:.2f} by time")
        finally:
            for server in servers.values():
                server.terminate()
            for server in servers.values():
                server.wait(30)
        metrics, drift = _counting(home, environment, asks["service"])
        print(f"of which counting: CPU {metrics + drift:.1f} µs (metrics {metrics:.1f}, drift {drift:.1f})")


def _publish(home: Path) -> Contract:
    """Registers a model of 47 fields as the champion of the use case `bench`."""
    rng = np.random.default_rng(0)
    codes = [f"value {i}" for i in range(30)]
    features = [Number(f"number_{i}", minimum=-100, maximum=100, example=1.5) for i in range(NUMBERS)]
    features += [
        Category(f"category_{i}", allow_unknown=True, vocabulary=codes, example="value 3")
        for i in range(CATEGORIES)
    ]
    numbers, values = rng.normal(size=(2000, NUMBERS)), rng.integers(0, 32, size=(2000, CATEGORIES))
    x = np.hstack([numbers, values]).astype(np.float32)
    contract = Contract(
        use_case="bench",
        title="Bench",
        task="regression",
        target=Number("y"),
        features=features,
        metric="rmse",
        greater_is_better=False,
        reference={f.name: reference(x[:, i], i >= NUMBERS) for i, f in enumerate(features)},
        lineage=Lineage(run_id="", candidate="forest", batches=[], rows={}, created_at=datetime.now(UTC)),
    )
    model = RandomForestRegressor(100, max_depth=8, random_state=0).fit(x, x[:, 0] * x[:, 1] + x[:, -1])
    graph = to_onnx(model, initial_types=[("x", FloatTensorType([None, x.shape[1]]))], target_opset=18)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.array([-1]), "flat"))
    graph.graph.node.append(onnx.helper.make_node("Reshape", [graph.graph.output[0].name, "flat"], ["y"]))
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None]))
    folder = home / "model"
    folder.mkdir()
    contract.save(folder)
    (folder / MODEL_FILE).write_bytes(graph.SerializeToString())
    RAW.create_all(create_engine(f"sqlite:///{home}/RawData.db"))
    registry = Registry(f"sqlite:///{home}/mlflow.db")
    run = registry.client.create_run(registry.client.create_experiment("bench", str(home / "artifacts")))
    version = registry.register("bench", run.info.run_id, folder, VersionTags())
    registry.set_alias("bench", CHAMPION, version.version)
    return contract


def _measure(pid: int, connection: http.client.HTTPConnection, ask: tuple) -> tuple[float, float]:
    """(CPU time of the server, time to the reply) in microseconds a request."""
    before = psutil.Process(pid).cpu_times()
    lapses = []
    for _ in range(REQUESTS):
        sent = time.perf_counter()
        connection.request(*ask)
        reply = connection.getresponse()
        reply.read()
        lapses.append(time.perf_counter() - sent)
        if reply.status != 200:
            raise SystemExit(f"{ask[1]} answers {reply.status}")
    after = psutil.Process(pid).cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return cpu / REQUESTS * 1e6, statistics.median(lapses) * 1e6


def _counting(home: Path, environment: dict[str, str], ask: tuple) -> list[float]:
    """CPU time a request, in microseconds, that the metrics and the drift counts take: medians of the rounds."""
    port = _free_port()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (home / "log").open("a") as log:
        command = [sys.executable, "-c", TIMED, "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stderr=log, **pipes)

    def spent() -> np.ndarray:
        server.stdin.write("\n")
        server.stdin.flush()
        return np.array(server.stdout.readline().split(), dtype=float)

    try:
        connection, rounds = _wait(port, ask), []
        for _ in range(ROUNDS + 1):
            before = spent()
            _measure(server.pid, connection, ask)
            rounds.append((spent() - before) / REQUESTS / 1000)
    finally:
        server.terminate()
        server.wait(30)
    return np.median(rounds[1:], axis=0).tolist()


def _wait(port: int, ask: tuple) -> http.client.HTTPConnection:
    """A connection to a server that answers 200."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(*ask)
            reply = connection.getresponse()
            reply.read()
            if reply.status == 200:
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit(f"nothing answers on port {port}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
