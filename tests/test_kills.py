"""SIGKILL at random moments, of the loop and of the prediction service: nothing is lost, nothing is stored twice.

`make kill-test` does it 200 times, `make test-journeys` a few times.
"""

import csv
import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from mlops_lab.data.store import Store
from mlops_lab.lab import Lab
from mlops_lab.local import embedded
from mlops_lab.local.processes import Supervisor, free_ports
from mlops_lab.model.registry import CHAMPION
from mlops_lab.settings import Settings
from tests.support.flats import flats
from tests.support.forks import Ended, Forks
from tests.support.processes import PATIENCE, environment, inference, started

KILLS = int(os.environ.get("LAB_TEST_KILLS", 4))
OF_SERVICE = max(1, KILLS // 10)
OF_LOOP = KILLS - OF_SERVICE
SEED = 20
# After so many kills the undisturbed run is measured again, because the machine may be busier or less busy.
MEASURED = 20

# Rows of a batch: one of them is refused, one is there twice.
ROWS, REFUSED, TWICE = 40, 1, 1
STORED, CLEAN = ROWS - REFUSED, ROWS - REFUSED - TWICE
ROW = {"area": 50, "floor": 2, "district": "north", "balcony": True, "built": "1990-05-15"}
COLUMNS = ["area", "floor", "district", "balcony", "built", "rent"]

# The step under way after the newest line that a run printed.
STEPS = {
    r"predicts its example| refused: ": "finish",
    r" promoted: ": "roll out",
    r"ridge: version": "promote",
    r"decision: train|linear_regression: |ridge: ": "train",
    r"new clean rows": "decide",
    r"rows received": "prepare",
    r"landed|was left unfinished": "validate",
}

pytestmark = [
    pytest.mark.journey,
    pytest.mark.fault,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.timeout(300 + 20 * KILLS),
]


def served_rows(batches: int) -> list[list]:
    """The rows of so many batches."""
    good, rows = flats(batches * CLEAN, seed=7), []
    for start in range(0, len(good), CLEAN):
        of_batch = good[start : start + CLEAN]
        rows += [*of_batch, ["wide", *of_batch[1][1:]], of_batch[0]]
    return rows


def step_under_way(run: Ended) -> str:
    for pattern, step in STEPS.items():
        if re.search(pattern, run.printed.strip().rpartition("\n")[2]):
            return step
    return "land"


def column(lab: Lab, database: str, query: str) -> list:
    with getattr(lab.store, database).connect() as db:
        return list(db.scalars(text(query)))


def check(lab: Lab, batches: int) -> None:
    """What an undisturbed run of so many batches leaves, and nothing else."""
    whole = {"state": "done", "gap": 0, "attempts": 0, "received": ROWS, "quarantined": REFUSED}
    whole |= {"stored": STORED, "clean": CLEAN, "duplicates": TWICE, "decision": "train"}
    entries = lab.ledger.batches("flats")
    found = [{name: getattr(entry, name) for name in ("batch_number", *whole)} for entry in entries]
    assert found == [{"batch_number": number, **whole} for number in range(1, batches + 1)]
    ids = [entry.id for entry in entries]
    for database, table, rows in (("raw", "flats_raw", STORED), ("clean", "flats_clean", CLEAN)):
        assert column(lab, database, f"SELECT batch_id FROM {table} ORDER BY batch_id") == [
            id_ for id_ in ids for _ in range(rows)
        ]
    assert column(lab, "raw", "SELECT batch_id FROM flats_quarantine ORDER BY batch_id") == ids
    areas = column(lab, "raw", "SELECT area FROM flats_raw ORDER BY batch_id, row_index")
    assert [float(area) for area in areas] == [row[0] for row in served_rows(batches) if row[0] != "wide"]
    assert column(lab, "clean", "SELECT COUNT(DISTINCT row_hash) FROM flats_clean") == [CLEAN * batches]
    assert sorted(lab.artifacts.list("payloads/flats")) == sorted(entry.payload for entry in entries)

    # Each candidate of a batch is one version that may be served, and one version is champion.
    versions = {version.version: version for version in lab.registry.versions("flats")}
    models = lab.ledger.models("flats")
    trained = [(model.batch_id, versions[number].facts.candidate) for number, model in models.items()]
    assert sorted(trained) == [(id_, name) for id_ in ids for name in ("linear_regression", "ridge")]
    for number in versions.keys() - models.keys():
        assert "the lab has no record of it" in (versions[number].facts.reason or "")
    history = lab.ledger.promotions("flats")
    assert [row.sequence for row in history] == list(range(1, batches + 1))
    assert [models[row.challenger].batch_id for row in history] == ids
    champion = lab.ledger.standing("flats").champion
    assert lab.registry.aliases("flats")[CHAMPION] == champion
    lab.predictor(versions[champion]).check_example()

    assert lab.tracking.open_runs("flats") == []
    unfinished = re.compile(r"\.part$|^\.arriving-|^\..*\.\d+$")
    assert [path for path in lab.settings.home.rglob("*") if unfinished.search(path.name)] == []


@pytest.fixture
def supervisor(tmp_path):
    with Supervisor(tmp_path / "logs", environment()) as supervisor:
        yield supervisor


def test_a_loop_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path, templates, flats_folder, supervisor, record_property
):
    homes = {name: tmp_path / name for name in ("undisturbed", "killed")}
    labs: dict[str, Lab] = {}
    for name, home in homes.items():
        templates.copy_empty(home)
        labs[name] = Lab(Settings(home=home, use_cases=flats_folder), lambda _: None)
    data = homes["killed"] / "data"
    data.mkdir()
    # More than the loop can take.
    with (data / "flats.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *served_rows(10 + 2 * OF_LOOP)])
    (data / "datasets.toml").write_text(f"[flats]\nrows_per_batch = {ROWS}\n")
    settings = Settings(home=homes["killed"], data_api_port=free_ports(1)[0])
    api = started(supervisor, embedded.data_api_service(settings))

    own = {"LAB_HOME": str(homes["killed"]), "LAB_DATA_API_PORT": str(api.port)}
    other = {
        "LAB_HOME": str(homes["undisturbed"]),
        "LAB_DATA_API_URL": f"{api.url}/{{dataset}}?group_number=2",
    }
    batch = ("run", "flats", "--batches", "1")
    with Forks(tmp_path / "temporary", LAB_USE_CASES=str(flats_folder)) as forks:
        # One moment in each of as many equal parts of an undisturbed run, in any order.
        some = random.Random(SEED)
        parts = [(part + some.random()) / OF_LOOP for part in range(OF_LOOP)]
        some.shuffle(parts)
        killed: Counter[str] = Counter()
        for number, part in enumerate(parts):
            if number % MEASURED == 0:
                run = forks.lab(tmp_path / "undisturbed.log", other, *batch)
                assert run.status == 0, run.printed
                whole = run.seconds
            while True:
                run = forks.lab(tmp_path / "killed.log", own, *batch, kill_after=part * whole)
                if run.status == -signal.SIGKILL:
                    break
                assert run.status == 0, run.printed
                if "was left unfinished" not in run.printed:
                    whole = run.seconds
            killed[step_under_way(run)] += 1
        check(labs["undisturbed"], 1 + (OF_LOOP - 1) // MEASURED)
        # Another process may be at an unfinished download; after an hour the next download removes it.
        for download in (homes["killed"] / "models").glob(".arriving-*"):
            os.utime(download, (0, 0))
        last = forks.lab(tmp_path / "killed.log", own, *batch)
        assert last.status == 0, last.printed
    batches = len(labs["killed"].ledger.batches("flats"))
    check(labs["killed"], batches)
    positions = json.loads((homes["killed"] / "data-api.json").read_text())["positions"]
    assert positions["flats/1"]["batch"] == batches
    by_step = ", ".join(f"{step} {times}" for step, times in killed.most_common())
    record_property("kills of the loop", f"{OF_LOOP} ({by_step}), {batches} batches")


class Caller(threading.Thread):
    """One client of the prediction service. accepted: (time, id of the prediction), in the order of the log."""

    def __init__(self, url: str):
        super().__init__(daemon=True)
        self.accepted: list[tuple[float, str]] = []
        self._url = f"{url}/predict/flats"
        self.start()

    def run(self) -> None:
        with httpx.Client(timeout=PATIENCE) as http:
            while True:
                time.sleep(0.01)
                try:
                    made = http.post(self._url, json=ROW).raise_for_status().json()["prediction_ids"]
                except httpx.HTTPError:
                    return  # It was killed.
                self.accepted.append((time.monotonic(), made[0]))


def spooled(folder: Path) -> set[str]:
    """The ids of the entries that a killed service left on disk; its last line may be cut short."""
    lines = [line for file in folder.rglob("*.jsonl") for line in file.read_bytes().splitlines(keepends=True)]
    return {json.loads(line)["id"] for line in lines if line.endswith(b"\n")}


def wait_for_the_log(store: Store, ids: set[str]) -> set[str]:
    """Waits until these predictions and requests are in the log; returns all ids in it."""
    end = time.monotonic() + PATIENCE
    while True:
        with store.raw.connect() as db:
            logged = list(db.scalars(text("SELECT id FROM predictions UNION ALL SELECT id FROM requests")))
        assert len(logged) == len(set(logged))
        if ids <= set(logged):
            return set(logged)
        assert time.monotonic() < end, f"{len(ids - set(logged))} of {len(ids)} aren't in the log"
        time.sleep(0.05)


def test_a_service_that_is_killed_while_callers_predict_loses_only_the_newest_predictions(
    tmp_path, templates, supervisor, record_property
):
    home, some = tmp_path / "lab", random.Random(SEED)
    templates.copy_trained(home)
    store = Store(f"sqlite:///{home}/RawData.db", f"sqlite:///{home}/CleanData.db")
    rounds: list[tuple[float, list[Caller]]] = []
    on_disk: set[str] = set()
    for _ in range(OF_SERVICE):
        service = inference("service", home)
        handle = supervisor.start(service)
        supervisor.wait(service)
        callers = [Caller(service.url) for _ in range(2)]
        # When the first ones are in the log, others are in memory and in the spool at each moment.
        while not all(caller.accepted for caller in callers):
            assert all(caller.is_alive() for caller in callers)
            time.sleep(0.01)
        wait_for_the_log(store, {caller.accepted[0][1] for caller in callers})
        time.sleep(some.uniform(0, 1.5))
        handle.kill()
        rounds.append((time.monotonic(), callers))
        supervisor.stop(service)
        for caller in callers:
            caller.join(PATIENCE)
        on_disk |= spooled(home / "spool")

    # Another process takes over what the killed ones left on disk, and moves it oldest first.
    service = started(supervisor, inference("service", home))
    newest = httpx.post(f"{service.url}/predict/flats", json=ROW).json()["prediction_ids"]
    logged = wait_for_the_log(store, on_disk | set(newest))
    lost, ages, accepted = 0, [0.0], 0
    for killed_at, callers in rounds:
        for caller in callers:
            there = [id_ in logged for _, id_ in caller.accepted]
            # Not one is missing before one that is there.
            assert there == sorted(there, reverse=True)
            missing = [killed_at - moment for moment, id_ in caller.accepted if id_ not in logged]
            lost, ages, accepted = lost + len(missing), [*ages, *missing], accepted + len(there)
    record_property(
        "kills of the service",
        f"{OF_SERVICE}; {lost} of {accepted} predictions lost, the oldest {max(ages):.2f} s before the kill",
    )
