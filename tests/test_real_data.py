"""The loop on the real data sets, served by the real Data API: from a CSV file to a promoted champion."""

import os
import shutil
import socket
import subprocess
import sys
import time

import httpx
import pytest

from mlops_lab.data.payload import parse
from mlops_lab.lab import Lab
from mlops_lab.loop import run_batch
from mlops_lab.metrics import METRICS
from mlops_lab.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


@pytest.fixture
def serve(tmp_path, real_data):
    """Starts a Data API that serves one real file; gives a lab that reads from it."""
    started = []

    def _serve(file: str) -> Lab:
        folder = tmp_path / "data"
        folder.mkdir()
        shutil.copy(real_data / file, folder)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        env = os.environ | {"LAB_DATOS_FOLDER": str(folder)}
        command = [sys.executable, "-m", "datos", "--port", str(port)]
        started.append(
            subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        return Lab(Settings(home=tmp_path / "lab", data_api_url=url + "/{dataset}"), say=lambda _: None)

    yield _serve
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(
    ("use_case", "file"),
    [
        ("housing", "realtor_2023_half.csv.gz"),
        ("housing", "realtor_p4_batch3_12col.csv"),
        ("diabetes", "diabetic_data.csv.gz"),
        ("covertype", "covertype_group5_unique.csv.gz"),
    ],
    ids=["realtor-half", "realtor-p4", "diabetes", "covertype"],
)
def test_a_real_batch_goes_round_the_loop(serve, use_case, file):
    lab = serve(file)
    found = lab.use_case(use_case)
    assert run_batch(lab, found).outcome.promoted
    (batch,) = lab.ledger.batches(use_case)
    assert batch.state == "done"
    assert batch.quarantined <= 0.02 * batch.received  # bounds that refuse real rows would be wrong bounds
    assert batch.received == batch.stored + batch.quarantined
    assert batch.stored == batch.clean + batch.duplicates + batch.dropped

    versions = lab.registry.versions(use_case)
    assert len(versions) == len(found.candidates)  # every candidate's graph equals its pipeline
    champion = lab.registry.by_alias(use_case, "champion")
    contract = lab.predictor(champion).contract
    sign = METRICS[contract.metric].sign
    test, naive = contract.metrics["test"][contract.metric], contract.baseline["test"][contract.metric]
    assert sign * test > sign * naive

    # A raw row, sent as it stands in the file, is a row that the API takes.
    payload = lab.artifacts.get(batch.payload)
    rows = [{f.name: row[f.name] for f in found.features} for row in parse(payload, found).rows[:50]]
    assert len(lab.predictor(champion).predict(rows).values) == 50
