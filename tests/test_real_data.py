"""The loop on the real data sets, served by the real Data API: from a CSV file to a promoted champion.

The first batch of each file, by every candidate: 15,000 rows, 30,000 of realtor listings.
"""

import math
import shutil

import pytest

from mlops_lab.data.payload import parse
from mlops_lab.lab import Lab
from mlops_lab.local.processes import Supervisor
from mlops_lab.loop import run_batch
from mlops_lab.metrics import METRICS
from mlops_lab.settings import Settings
from tests.support.processes import environment, server, started

pytestmark = [pytest.mark.journey, pytest.mark.real, pytest.mark.process, pytest.mark.timeout(900)]


@pytest.fixture
def serve(tmp_path, real_data, templates):
    """Starts a Data API that serves one real file; gives a lab that reads from it."""
    folder = tmp_path / "data"
    folder.mkdir()
    templates.copy_empty(tmp_path / "lab")
    with Supervisor(tmp_path / "logs", environment()) as supervisor:

        def _serve(file: str) -> Lab:
            shutil.copy(real_data / file, folder)
            command = ["-m", "datos", "--port", "{port}"]
            api = server("Data API", command, tmp_path, "/health", LAB_DATOS_FOLDER=str(folder))
            url = started(supervisor, api).url
            settings = Settings(home=tmp_path / "lab", data_api_url=f"{url}/{{dataset}}")
            return Lab(settings, progress=lambda _: None)

        yield _serve


@pytest.mark.parametrize(
    ("use_case", "file", "bound"),
    [
        ("housing", "realtor_2023_half.csv.gz", 0.6),
        # One state, prices up to 300,000: little to win over ridge, so better than naive is all that is asked.
        ("housing", "realtor_p4_batch3_12col.csv", None),
        ("diabetes", "diabetic_data.csv.gz", 0.6),
        ("covertype", "covertype_group5_unique.csv.gz", 0.9),
    ],
    ids=["realtor-half", "realtor-p4", "diabetes", "covertype"],
)
def test_a_real_batch_leads_to_a_champion(serve, use_case, file, bound):
    lab = serve(file)
    case = lab.use_case(use_case)
    assert run_batch(lab, case).outcome.promoted
    (batch,) = lab.ledger.batches(use_case)
    assert batch.state == "done"
    # Bounds that refuse real rows would be wrong bounds.
    assert batch.quarantined <= 0.02 * batch.received
    assert batch.received == batch.stored + batch.quarantined
    assert batch.stored == batch.clean + batch.duplicates + batch.dropped
    assert batch.dropped < 0.1 * batch.received

    # Every candidate's graph equals its pipeline, is small, and is better than the naive baseline.
    versions = lab.registry.versions(use_case)
    assert len(versions) == len(case.candidates)
    predictors = {version.version: lab.predictor(version) for version in versions}
    for number, predictor in predictors.items():
        contract = predictor.contract
        test, naive = contract.metrics["test"], contract.baseline["test"]
        sign = METRICS[contract.metric].sign
        assert sign * test[contract.metric] > sign * naive[contract.metric], contract.lineage.candidate
        if case.metric.gate:
            assert test[case.metric.gate[0]] < naive[case.metric.gate[0]], contract.lineage.candidate
        (graph,) = lab.cache.glob(f"{use_case}-{number}/**/*.onnx")
        assert graph.stat().st_size < 20e6, contract.lineage.candidate
        predictor.check_example()

    champion = predictors[lab.champion(use_case).version]
    if bound is not None:
        sign = METRICS[champion.contract.metric].sign
        assert sign * champion.contract.metrics["test"][champion.contract.metric] > sign * bound

    if interval := champion.contract.interval:
        # Chance moves the share by up to three standard deviations, on the validation rows and on the test rows.
        rows = champion.contract.lineage.rows
        chance = 3 * math.sqrt(0.9 * 0.1 * (1 / rows["validation"] + 1 / rows["test"]))
        assert interval.coverage == pytest.approx(0.9, abs=max(0.02, chance))
    assert (champion.contract.interval is not None) == (case.task == "regression")

    # A raw row, sent as it stands in the file, is a row that the API takes.
    payload = lab.artifacts.get(batch.payload)
    rows = [{f.name: row[f.name] for f in case.features} for row in parse(payload, case).rows[:50]]
    assert len(champion.predict(rows).values) == 50
