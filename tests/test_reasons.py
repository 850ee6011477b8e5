"""Reasons to train beside new rows and drift: frequent new categories, and the champion's error on new rows."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mlops_lab.model.drift import MIN_FRACTION
from mlops_lab.model.tags import DRIFT_FILE
from mlops_lab.steps.decide import decide
from mlops_lab.steps.ingest import land, prepare, validate
from tests.support.data_api import END
from tests.support.flats import batch, flats, read

# New groups alone are no reason here.
QUIET = {"new_share": 2.0, "min_new_rows": 10_000}


def noisy(size: float, n: int = 400) -> list[list]:
    """Flats as before, whose rent is off by `size` EUR, up or down."""
    return [[*row[:5], row[5] + size * (-1) ** number] for number, row in enumerate(flats(n, seed=1))]


def docks(share: float, n: int = 400) -> list[list]:
    rows = flats(n, seed=1)
    for row in rows[: round(share * n)]:
        row[2] = "docks"
    return rows


@pytest.mark.parametrize(
    ("rows", "policy", "reason"),
    [
        (
            docks(0.03),
            {"new_category": 0.025},
            'new values of a category are frequent: district "docks" (3%)',
        ),
        (docks(0.03), {}, None),
        (noisy(150), {}, "the champion is worse on new rows: rmse is 15"),
        (noisy(150), {"batch_error": 9.0}, None),
        (noisy(150, 150), {}, None),  # too few rows to tell
        (flats(400, seed=1), {"batch_error": 0.0}, None),
    ],
)
def test_new_categories_and_a_greater_error_on_new_rows_lead_to_a_training(
    trained, use_case, course, rows, policy, reason
):
    lab = trained
    mine = replace(use_case, retrain=use_case.retrain.model_copy(update=QUIET | policy))
    course.will_answer(batch(2, rows), END)
    entry = land(lab, mine)
    for step in (validate, prepare):
        step(lab, mine, entry.id)
    decision = decide(lab, mine, entry.id)
    assert decision.train == (reason is not None), decision.reason
    assert (reason or "nothing drifted") in decision.reason
    entry = lab.ledger.batch(entry.id)
    assert entry.reason == decision.reason
    metrics = lab.registry.client.get_run(entry.mlflow_run).data.metrics
    used = read(rows)
    share = sum(row[2] == "docks" for row in used) / len(used)
    if len(rows) == 400:
        assert metrics["new_category_share"] == pytest.approx(share)
        assert metrics["test.rmse.low"] < metrics["test.rmse.high"]
        assert (metrics["new.rmse"] > 1.05 * metrics["test.rmse.high"]) == (rows == noisy(150))
        evidence = json.loads(lab.tracking.read_bytes(entry.mlflow_run, DRIFT_FILE))
        assert (evidence["version"], evidence["rows"]) == (1, metrics["new_rows"])
        assert evidence["new_values"] == ({"district": {"docks": pytest.approx(share)}} if share else {})
        for name, found in evidence["features"].items():
            before, now = (np.maximum(found[rows], MIN_FRACTION) for rows in ("training", "new"))
            index = np.sum((now - before) * np.log(now / before))
            assert metrics[f"psi.{name}"] == pytest.approx(index, rel=0.01, abs=1e-4)


def test_a_champion_with_a_column_that_is_declared_no_more_leads_to_a_training(trained, use_case, course):
    fewer = tuple(feature for feature in use_case.features if feature.name != "balcony")
    mine = replace(use_case, features=fewer, retrain=use_case.retrain.model_copy(update=QUIET))
    rows = [[*row[:3], *row[4:]] for row in flats(600, seed=1)]
    course.will_answer(batch(2, rows), END)
    entry = land(trained, mine)
    for step in (validate, prepare):
        step(trained, mine, entry.id)
    decision = decide(trained, mine, entry.id)
    assert decision.train
    assert "can't be scored any more: flats doesn't declare its columns balcony" in decision.reason
