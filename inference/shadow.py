"""The shadow: one thread that predicts the rows of answered requests with the challenger, and logs its predictions.

A request hands its rows over after its reply was sent, by an append to a queue. When the challenger is slower than the
requests come, rows are dropped and counted.
"""

import threading
import time
from collections.abc import Sequence
from queue import SimpleQueue

import msgspec
import numpy as np

from inference.loaded import Challenger, Champion
from inference.log_entries import Entry, PredictionEntry, shadow_entries
from inference.metrics import Metrics
from inference.prediction_log import PredictionLog
from inference.spool import lines
from inference.trials import Trials

# Rows that wait at most; one request is taken whatever its size. A row of fifty fields takes about 2 KB.
MAX_WAITING = 5000


class Shadow:
    """The queue and its thread."""

    def __init__(self, log: PredictionLog, metrics: Metrics, trials: Trials):
        self._log, self._metrics, self._trials = log, metrics, trials
        self._queue: SimpleQueue[tuple[Challenger, list[PredictionEntry]] | None] = SimpleQueue()
        self._counting = threading.Lock()
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Ends the thread after the rows that wait, and after this time at the latest."""
        self._queue.put(None)
        self._thread.join(seconds)

    def add(self, challenger: Challenger, served: Sequence[Entry]) -> None:
        """Hands over what the champion predicted, unless the challenger is a canary. Never waits."""
        if challenger.trial.share is not None:
            return
        entries = [entry for entry in served if isinstance(entry, PredictionEntry)]
        with self._counting:
            fits = not self._waiting or self._waiting + len(entries) <= MAX_WAITING
            self._waiting += len(entries) * fits
        if fits:
            self._queue.put((challenger, entries))
        else:
            self._metrics.shadowed(challenger.model.use_case, challenger.model.label, "dropped", len(entries))

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            challenger, entries = work
            model = challenger.model
            try:
                started = time.perf_counter()
                found = model.predictor.predict_encoded(_encoded(model, entries))
                seconds = time.perf_counter() - started
                made = shadow_entries(model.version, entries, found.values, model.by_class(found))
                self._log.add(lines(made), len(made))
                self._metrics.shadowed(model.use_case, model.label, "predicted", len(entries), seconds)
            except Exception as error:
                # A challenger may raise any error. It must end neither this thread nor the service.
                self._metrics.shadowed(model.use_case, model.label, "failed", len(entries))
                self._trials.failed(challenger, error)
            finally:
                with self._counting:
                    self._waiting -= len(entries)


def _encoded(model: Champion, entries: list[PredictionEntry]) -> np.ndarray:
    """The rows as the challenger's own contract encodes them. Raises `ContractError` when it refuses one."""
    rows = [msgspec.to_builtins(entry.row) for entry in entries]
    if decoded := model.decoder.take(rows):
        return decoded.matrix
    return model.contract.encode(model.contract.read(rows))
