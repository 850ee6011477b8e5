"""A loop and callers that go on while faults are caused, and what must hold after each fault."""

import csv
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.stack.stack import Stack, eventually
from tests.support.flats import FLATS, flats

ROWS = 200
COLUMNS = ["area", "floor", "district", "balcony", "built", "rent"]
# Seconds in which the loop must ask for the next batch, from the moment when the cause of a fault is gone.
RECOVERY = 600


class Flats:
    """The loop of the use case `flats`: a batch of 200 new rows follows the other as long as the tests run."""

    name = "flats"
    dag = "flats_training"

    def __init__(self, stack: Stack, use_cases: Path, data: Path, batches: int = 600):
        self.stack = stack
        with (data / "flats.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(flats(batches * ROWS, seed=7))
        (data / "datasets.toml").write_text(f"[flats]\nrows_per_batch = {ROWS}\n")
        (use_cases / "flats.py").write_text(FLATS)

    def batches(self) -> list[tuple[int, str]]:
        """(number, state) of every batch, oldest first."""
        return self.stack.sql(
            "SELECT batch_number, state FROM RawData.batches WHERE use_case = 'flats' ORDER BY id"
        )

    def done(self) -> int:
        return sum(state == "done" for _, state in self.batches())

    def training(self) -> None:
        """Waits until a batch is being trained."""
        eventually(lambda: self.batches()[-1][1] == "decided", "a training", pause=0.2)

    def goes_on(self, what: str) -> float:
        """Waits until the batch of this moment is done and the next one has landed; returns the seconds."""
        began = time.monotonic()
        number = eventually(lambda: self.batches(), what, RECOVERY, pause=0.5)[-1][0]

        def next_one() -> bool:
            states = dict(self.batches())
            return states[number] == "done" and number + 1 in states

        eventually(next_one, f"the next batch after: {what}", RECOVERY, pause=0.5)
        return time.monotonic() - began

    def nothing_is_lost(self) -> None:
        """Each batch landed once and in order, each row is stored once, and one champion is served."""
        batches = self.batches()
        assert [number for number, _ in batches] == list(range(1, len(batches) + 1))
        # The newest one is being worked on.
        assert {state for _, state in batches[:-1]} <= {"done"}, batches
        stored = self.stack.sql(
            "SELECT b.batch_number, b.stored, b.quarantined, COUNT(r.row_index), b.clean FROM RawData.batches b "
            "LEFT JOIN RawData.flats_raw r ON r.batch_id = b.id WHERE b.use_case = 'flats' AND b.state = 'done' "
            "GROUP BY b.id ORDER BY b.id"
        )
        assert stored == [(number, ROWS, 0, ROWS, ROWS) for number, *_ in stored]
        [(clean, distinct)] = self.stack.sql(
            "SELECT COUNT(*), COUNT(DISTINCT row_hash) FROM CleanData.flats_clean "
            "WHERE batch_id IN (SELECT id FROM RawData.batches WHERE use_case = 'flats' AND state = 'done')"
        )
        assert clean == distinct == ROWS * len(stored)

    def has_one_champion(self) -> None:
        """The ledger, the registry and the service name the same version."""

        def agree() -> bool:
            decided = self.stack.sql(
                "SELECT outcome, challenger, champion FROM RawData.promotions "
                "WHERE use_case = 'flats' AND outcome <> 'refused' ORDER BY sequence DESC LIMIT 1"
            )
            [(outcome, challenger, champion)] = decided
            expected = challenger if outcome == "promoted" else champion
            model = self.stack.mlflow("GET", "registered-models/get", params={"name": "flats"})[
                "registered_model"
            ]
            aliases = {entry["alias"]: int(entry["version"]) for entry in model["aliases"]}
            assert aliases["champion"] == expected == self.stack.champion("flats"), (decided, aliases)
            return True

        # Between two of the three a promotion may be on its way.
        eventually(agree, "one champion in ledger, registry and service", 60, pause=0.5)


class Callers:
    """Clients of the prediction API. Every accepted prediction must be in the log once."""

    def __init__(self, stack: Stack, pause: float = 0.05):
        self._url = f"{stack.url('inference')}/predict/flats"
        self._stack, self._pause = stack, pause
        self.accepted: list[tuple[float, str]] = []
        self.failed: list[tuple[float, str]] = []

    @contextmanager
    def call(self) -> Iterator[None]:
        """They call while the block runs."""
        stop = threading.Event()
        threads = [threading.Thread(target=self._run, args=(stop, seed), daemon=True) for seed in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)

    def _run(self, stop: threading.Event, seed: int) -> None:
        some = random.Random(seed)
        with httpx.Client(timeout=10) as http:
            while not stop.wait(self._pause):
                row = {
                    "area": some.uniform(20, 150),
                    "floor": some.randint(0, 12),
                    "district": "north",
                    "balcony": True,
                    "built": "1990-05-15",
                }
                try:
                    reply = http.post(self._url, json=row)
                    reply.raise_for_status()
                    self.accepted.append((time.time(), reply.json()["prediction_ids"][0]))
                except httpx.HTTPError as error:
                    self.failed.append((time.time(), f"{type(error).__name__}: {error}"))

    def missing(self) -> list[str]:
        """The ids of accepted predictions that the log doesn't have; none is in it twice, since the id is its key."""
        wanted = {id_ for _, id_ in self.accepted}
        found: set[str] = set()
        ids = sorted(wanted)
        for start in range(0, len(ids), 1000):
            listed = ", ".join(f"'{id_}'" for id_ in ids[start : start + 1000])
            found |= {
                id_
                for (id_,) in self._stack.sql(f"SELECT id FROM RawData.predictions WHERE id IN ({listed})")
            }
        return sorted(wanted - found)

    def all_logged(self, lost: int = 0) -> None:
        """Waits until all but `lost` accepted predictions are in the log."""
        eventually(lambda: len(self.missing()) <= lost, f"{len(self.accepted)} logged predictions", 90)
