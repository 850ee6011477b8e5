"""Reference histograms and the population stability index."""

import math
from datetime import date

import numpy as np
import pytest

from mlops_lab.contract import Contract, Reference, RetrainPolicy
from mlops_lab.features import Boolean, Category, Date, Number
from mlops_lab.model.drift import DriftCounter, distributions, histogram, psi, psi_of_counts, reference
from tests.support import models

DAY = Date("sold").encode(date(2024, 1, 31))
RNG = np.random.default_rng(0)


def test_numbers_get_ten_equal_bins_and_missing():
    column = np.concatenate([np.arange(900, dtype=np.float32), np.full(100, np.nan, dtype=np.float32)])
    found = reference(column)
    assert len(found.edges) == 9
    assert found.shares[:-1] == pytest.approx([0.09] * 10, abs=0.002)
    assert found.shares[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "column",
    [[1.0] * 50, [0, 0, 0, 0, 1], [0.1] * 30 + [0.2] * 10, [math.nan] * 5, [], [1, 2], [5.5, math.nan]],
)
def test_any_column_has_a_reference_that_it_fits(column):
    column = np.array(column, dtype=np.float32)
    found = reference(column)
    assert found.edges == sorted(set(found.edges))
    assert len(found.shares) == len(found.edges) + 2
    if len(column):
        assert sum(found.shares) == pytest.approx(1)
        assert psi(found, column) == pytest.approx(0, abs=1e-9)


def test_a_constant_column_has_bins_on_either_side():
    found = reference(np.full(100, 3.0))
    assert psi(found, np.full(100, 2.9)) > 1
    assert psi(found, np.full(100, 3.1)) > 1


def test_categories_are_missing_rare_top_twenty_and_other():
    codes = np.concatenate([np.repeat(np.arange(40), 10)]).astype(np.float32)
    found = reference(codes, category=True)
    assert histogram(found, np.float32([0, 1, 2, 21, 22, 39])).tolist() == [1, 1, 1] + [0] * 18 + [1, 2, 0]
    assert found.shares[22] == pytest.approx(18 / 40)


@pytest.mark.parametrize(
    ("feature", "values", "names"),
    [
        (Number("size"), [1.0, 2.0, 2.0, 9.0], ["up to 1", "1 to 2", "over 2"]),
        (Number("size"), [math.nan, 1.0], ["1", "missing"]),
        (Boolean("lift"), [0.0, 0.0, 1.0, math.nan], ["No", "Yes", "missing"]),
        (
            Category("town", vocabulary=["1", "Neiva"], labels={"1": "Cali"}),
            [0, 1, 2, 3],
            ["missing", "rare or unknown", "Cali", "Neiva"],
        ),
        (Category("town", vocabulary=[f"T{n}" for n in range(30)]), [2, 21, 22], ["T0", "T19", "all others"]),
        (Date("sold"), [DAY, DAY, DAY + 31], ["up to 2024-01-31", "over 2024-01-31"]),
    ],
)
def test_the_bins_have_names(feature, values, names):
    """Those that any row is in; the training rows are the new ones, too, so both have equal fractions."""
    column = np.array(values, dtype=np.float32)
    bare = reference(
        np.arange(40) if len(getattr(feature, "vocabulary", [])) > 20 else column,
        isinstance(feature, Category),
    )
    contract = Contract(
        use_case="flats",
        title="Flats",
        task="regression",
        target=Number("rent"),
        features=[feature],
        metric="rmse",
        greater_is_better=False,
        reference={
            feature.name: Reference(edges=bare.edges, shares=(histogram(bare, column) / len(column)).tolist())
        },
    )
    found = distributions(contract, column[:, None])[feature.name]
    assert found["bins"] == names
    assert found["training"] == found["new"]
    assert sum(found["new"]) == pytest.approx(1, abs=1e-5)


def test_psi_is_the_formula():
    # (.2-.5) ln(.2/.5) + (.8-.5) ln(.8/.5)
    found = psi_of_counts(Reference(edges=[0.0], shares=[0.5, 0.5, 0.0]), np.array([20, 80, 0]))
    assert found == pytest.approx(-0.3 * math.log(0.4) + 0.3 * math.log(1.6))


def test_psi_distinguishes_noise_from_drift():
    training = RNG.normal(size=5000)
    found = reference(training)
    assert psi(found, RNG.normal(size=500)) < 0.1
    assert psi(found, RNG.normal(1.0, size=500)) > 0.25
    assert psi(found, np.full(500, np.nan)) > 0.25
    assert psi(found, np.array([])) == 0


def _contract(tmp_path):
    return models.build(tmp_path)


def test_counter_equals_the_index_of_the_whole_column(tmp_path):
    contract = _contract(tmp_path)
    x = contract.encode(contract.read(models.raw_rows(1300, seed=2)))
    counter = DriftCounter(contract)
    counter.add(x[:499])
    assert counter.report() == {}
    for row in x[499:]:
        counter.add(row[None])
    assert counter.rows == 1300
    for place, feature in enumerate(contract.features):
        assert counter.report()[feature.name] == pytest.approx(
            psi(contract.reference[feature.name], x[:, place])
        )


def test_counter_reports_from_the_contracts_own_number_of_rows_on(tmp_path):
    contract = _contract(tmp_path)
    x = contract.encode(contract.read(models.raw_rows(100, seed=2)))
    for rows in (50, 100):
        policy = RetrainPolicy(min_drift_rows=rows)
        counter = DriftCounter(contract.model_copy(update={"retrain": policy}), window=10)
        counter.add(x[:-1])
        assert bool(counter.report()) is (rows == 50)
        counter.add(x[-1:])
        assert counter.report()


def test_the_counter_drops_old_rows(tmp_path):
    contract = _contract(tmp_path)
    usual = contract.encode(contract.read(models.raw_rows(600, seed=2)))
    drifted = usual.copy()
    drifted[:, 0] = 1500
    counter = DriftCounter(contract, window=600)
    counter.add(np.concatenate([drifted] * 5))
    assert counter.report()["area"] > 1
    for _ in range(3):
        counter.add(usual)
    assert counter.report()["area"] < 0.1
    assert 600 <= counter.rows <= 1200


def test_counter_counts_unknown_categories(tmp_path):
    contract = _contract(tmp_path)
    row = models.raw_rows(1)[0]
    counter = DriftCounter(contract)
    counter.add(contract.encode(contract.read([row, row | {"state": "Atlantis"}, row | {"state": None}])))
    assert counter.unknown() == {"kind": 0, "state": 1}
