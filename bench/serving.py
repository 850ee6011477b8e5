"""`make bench`: what a prediction costs over HTTP, beside the servers that people use.

It starts the servers of bench/peers.py, checks that all predict the same, sends them the same rows in turns, prints the
medians, and writes them with their plot into docs/performance.md. CPU times count all processes of a server, and for
the lab also the work of the log after the reply.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Ask, Cost, in_turns, reply
from model import NAMES, fit, one_hot_pipeline, pipeline, publish, rows
from parts import parts
from peers import Peer, peers
from reloads import reloads
from report import Result, write
from trials import trials

from mlops_lab.contract import MODEL_FILE
from mlops_lab.local.processes import Supervisor
from mlops_lab.model.onnx_graph import OnnxGraph

ROUNDS = 7
# Rows in a request, and requests in a round: (of a quick server, of a slow one).
SIZES = {1: (3000, 60), 1000: (40, 12)}
SLOW = ("pandas", "mlflow", "one_hot")


def main() -> None:
    """Runs the comparison and writes its figures."""
    with tempfile.TemporaryDirectory() as folder, Supervisor(Path(folder) / "logs") as supervisor:
        home = Path(folder)
        print("training the model, starting the servers", flush=True)
        contract, fitted = fit()
        publish(contract, fitted, home)
        found = peers(contract, pipeline(contract, fitted), one_hot_pipeline(), home)
        processes = {peer.process.name: peer.process for peer in found}
        pids = {name: supervisor.start(process).pid for name, process in processes.items()}
        for process in processes.values():
            supervisor.wait(process)
        sent = {n: rows(n, seed=3) for n in SIZES}
        asked = {n: [peer for peer in found if n > 1 or not peer.only_many] for n in SIZES}
        asks = {
            n: [_ask(peer, pids[peer.process.name], n, sent[n], home) for peer in asked[n]] for n in SIZES
        }
        for n in SIZES:
            _compare(asked[n], asks[n], n)
        print(f"the same predictions everywhere; {ROUNDS} rounds in turns", flush=True)
        costs = {
            n: dict(zip((peer.name for peer in asked[n]), in_turns(asks[n], ROUNDS), strict=True))
            for n in SIZES
        }
        matrix = contract.encode(contract.read(sent[1000]))
        graph = OnnxGraph(home / "model" / NAMES[0] / MODEL_FILE)
        own = {n: _own(graph, matrix[:n]) for n in SIZES}
        supervisor.stop(*(process for name, process in processes.items() if name != "lab"))
        found_parts = parts(home, supervisor, asks[1][0], ROUNDS)
        print("the champion changes under load", flush=True)
        moved = reloads(home, asks[1][0])
        print("the challenger gets live traffic", flush=True)
        write(Result(costs, own, found_parts, moved, trials(home, asks[1][0], ROUNDS)))


def _ask(peer: Peer, pid: int, n: int, sent: list[dict], home: Path) -> Ask:
    return Ask(
        server=peer.name,
        pid=pid,
        url=peer.process.url,
        method="POST",
        path=peer.path,
        body=peer.request(sent),
        headers={"Content-Type": peer.content_type},
        requests=SIZES[n][peer.name in SLOW],
        settle=(lambda: settled(home)) if peer.process.name == "lab" else None,
    )


def settled(home: Path) -> None:
    """Waits until the prediction log has moved everything into the database."""
    # It is written to disk twice a second, and moved once a second.
    time.sleep(0.7)
    while any((home / "spool").glob("*/*.jsonl")):
        time.sleep(0.05)


def _compare(found: list[Peer], asks: list[Ask], n: int) -> None:
    """Raises `SystemExit` when two servers differ in a prediction for the same rows."""
    expected: np.ndarray | None = None
    for peer, ask in zip(found, asks, strict=True):
        if peer.answer is None:
            continue
        answer = np.array(peer.answer(reply(ask)))
        expected = answer if expected is None else expected
        # Trees of their own differ a little.
        if answer.shape != (n,) or np.abs(answer - expected).mean() > (1e-5 if peer.same else 0.05):
            raise SystemExit(f"{peer.name} predicts something else for {n} rows than the lab")


def _own(graph: OnnxGraph, matrix: np.ndarray) -> Cost:
    """What the model's own run costs, in this process."""
    cost, runs = Cost(), max(20, 2000 // len(matrix))
    for _ in range(ROUNDS):
        began, lapse = time.thread_time(), time.perf_counter()
        for _ in range(runs):
            graph.run(matrix)
        cost.cpu.append((time.thread_time() - began) / runs * 1e6)
        cost.lapse.append((time.perf_counter() - lapse) / runs * 1e6)
    return cost


if __name__ == "__main__":
    main()
