"""A version of a candidate on Dask: its workers read the snapshots, its lineage has their number."""

from dataclasses import replace

import pytest

from mlops_lab import gradient_boosting, on_dask
from mlops_lab.contract import Contract
from mlops_lab.lab import Lab
from mlops_lab.steps.ingest import land, prepare, validate
from mlops_lab.steps.reproduce import reproduce
from mlops_lab.steps.train import train
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = [pytest.mark.journey, pytest.mark.process, pytest.mark.slow]


def test_the_workers_read_the_snapshots_and_another_number_of_them_is_named(
    lab, use_case, course, without_pictures, capfd
):
    """Each of the two workers has the snapshot of one batch."""
    course.will_answer(batch(1, flats(300)), batch(2, flats(240, seed=1)), END)
    for number in (1, 2):
        land(lab, use_case)
        validate(lab, use_case, number)
        prepare(lab, use_case, number)
        lab.ledger.note(number, state="done")
    lines: list[str] = []
    small = gradient_boosting({"n_estimators": 8})
    use_case = replace(use_case, candidates=[small, on_dask(small)])
    lab = replace(lab, progress=lines.append)
    here, spread = (
        Contract.load(lab.model_folder(lab.registry.version("flats", version)))
        for version in (train(lab, use_case, 2, candidate.name) for candidate in use_case.candidates)
    )
    assert [line for line in lines if "2 Dask workers have" in line]
    # LightGBM's workers print their connections; a program may read this output as JSON.
    assert not capfd.readouterr().out
    assert spread.lineage.libraries == here.lineage.libraries | {"Dask workers": "2"}
    # The rows are the same ones, in the same order, although this process never had them all.
    same = {"batches", "rows", "digest"}
    assert spread.lineage.model_dump(include=same) == here.lineage.model_dump(include=same)
    assert (spread.features, spread.reference, spread.background) == (
        here.features,
        here.reference,
        here.background,
    )
    versions = lab.registry.versions("flats")
    number = next(v.version for v in versions if v.facts.candidate == "on_dask_gradient_boosting")
    one = Lab(lab.settings.model_copy(update={"dask_processes": 1}), progress=lines.append)
    found = reproduce(one, use_case, number)
    assert found.causes == ["Dask workers: 2 then, 1 now"]
    assert found.changes
