"""The three use cases: on the Data API's synthetic data, and on the real files where they exist."""

import csv
import gzip
from dataclasses import replace

import numpy as np
import pytest

from datos.synthetic.clinic import Clinic
from datos.synthetic.forest import Forest
from datos.synthetic.market import BATCHES, Market
from mlops_lab.data.payload import RawBatch
from mlops_lab.data.validate import validate
from mlops_lab.loop import run_batch
from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.fit_contract import fit_contract
from mlops_lab.model.predictor import Predictor
from mlops_lab.model.train import train
from mlops_lab.settings import REPOSITORY
from mlops_lab.use_case import get_use_case
from tests.support.cases import clean_rows
from tests.support.data_api import END
from tests.support.flats import batch

HOUSING, DIABETES, COVERTYPE = (
    get_use_case(REPOSITORY / "use_cases", n) for n in ("housing", "diabetes", "covertype")
)
REAL = {
    "realtor_2023_half.csv.gz": HOUSING,
    "realtor_p4_batch3_12col.csv": HOUSING,
    "diabetic_data.csv.gz": DIABETES,
    "covertype_group5_unique.csv.gz": COVERTYPE,
}


def made(source, batches):
    return [dict(zip(source.columns, row, strict=True)) for number in batches for row in source.read(number)]


def real(folder, name):
    packed = (folder / name).read_bytes()
    text = (gzip.decompress(packed) if name.endswith(".gz") else packed).decode()
    return list(csv.DictReader(text.splitlines()))


def compete(use_case, frame):
    """Each candidate's model, all better than the naive baseline on held-out rows; the best by validation first."""
    name, sign = use_case.metric.name, use_case.metric.sign
    found = [train(use_case, candidate, frame) for candidate in use_case.candidates]
    for trained in found:
        naive, model = trained.contract.baseline["test"], trained.metrics["test"]
        assert sign * model[name] > sign * naive[name], trained.candidate
        if use_case.metric.gate:
            assert model[use_case.metric.gate[0]] < naive[use_case.metric.gate[0]], trained.candidate
        assert trained.model.ByteSize() < 20e6, trained.candidate
        Predictor(trained.contract, trained.model.SerializeToString()).check_example()
    return sorted(found, key=lambda trained: -sign * trained.metrics["validation"][name])


@pytest.mark.journey
@pytest.mark.slow
def test_housing_on_the_market_comes_close_to_the_best_possible():
    market = Market()
    frame = clean_rows(HOUSING, made(market, BATCHES))
    ranked = compete(HOUSING, frame)
    ridge = next(trained for trained in ranked if trained.candidate == "ridge")
    test = frame[frame["split"] == "test"]
    listed = {name: test[name].astype(object).where(test[name].notna(), "") for name in test.columns}
    best = market.best_rmse_log(listed)
    assert ranked[0].metrics["test"]["rmse_log"] < 1.1 * best
    assert ranked[0].metrics["test"]["rmse_log"] < 0.97 * ridge.metrics["test"]["rmse_log"]


@pytest.mark.journey
@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_the_loop_trains_on_the_markets_batches_and_skips_the_last_which_brings_little_new(lab, course):
    """At a quarter of the demo's rows, with one candidate: neither matters to the decisions."""
    market = Market(scale=0.01)
    course.will_answer(*(batch(number, market.read(number)) for number in BATCHES), END)
    one = replace(HOUSING, candidates=HOUSING.candidates[:1])
    for _ in BATCHES:
        run_batch(lab, one)
    batches = lab.ledger.batches("housing")
    assert [(b.batch_number, b.state) for b in batches] == [(number, "done") for number in BATCHES]
    assert [b.decision for b in batches] == ["train"] * 5 + ["skip"]
    expected = [sum(market.expected_quarantine(number).values()) for number in BATCHES]
    assert [b.quarantined for b in batches] == expected


@pytest.mark.slow
def test_housing_learns_from_the_first_batch_alone():
    compete(HOUSING, clean_rows(HOUSING, made(Market(), [1])))


@pytest.mark.journey
@pytest.mark.slow
def test_diabetes_on_invented_patients():
    raw = made(Clinic(), range(1, 3))
    frame = clean_rows(DIABETES, raw)
    best = compete(DIABETES, frame)[0]
    assert best.contract.threshold < 0.5  # one in nine comes back: nobody would ever be named at a half
    assert best.metrics["test"]["recall"] > 0.2


def test_diabetes_separates_none_from_missing_and_leaves_out_deaths_and_hospices():
    raw = made(Clinic(), [1])[:400]
    frame = clean_rows(DIABETES, raw)
    assert {"None"} < set(frame["A1Cresult"].dropna())
    assert frame["weight"].isna().mean() > 0.8
    assert len(raw) > len(frame) > 300
    raw = [row | {"discharge_disposition_id": "11"} for row in raw]
    assert clean_rows(DIABETES, raw).empty


def test_a_patient_is_in_one_split_only():
    raw = made(Clinic(), [1])
    typed = validate(RawBatch(1, raw, list(range(len(raw))), [], []), DIABETES).typed
    assert typed["patient_nbr"].duplicated().sum() > 100
    frame = clean_rows(DIABETES, raw).join(typed["patient_nbr"])
    assert frame.groupby("patient_nbr")["split"].nunique().max() == 1


def test_diagnoses_count_by_chapter():
    diagnosis = next(f for f in DIABETES.features if f.name == "diag_1")
    codes = ["250.83", "250", "8", "008", "428", "V27", "V45.8", "E878", "780", "785", "999", "text"]
    assert [diagnosis.mapped(code) for code in codes] == [
        "diabetes", "diabetes", "infection", "infection", "circulatory", "supplementary", "supplementary",
        "external cause", "symptom", "circulatory", "injury", "",
    ]  # fmt: skip


@pytest.mark.journey
@pytest.mark.slow
def test_covertype_on_invented_patches():
    best = compete(COVERTYPE, clean_rows(COVERTYPE, made(Forest(), range(1, 3))))[0]
    assert best.metrics["test"]["accuracy"] > 0.75


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("name", REAL)
def test_bounds_do_not_quarantine_real_rows(name, real_data):
    raw = real(real_data, name)[:30_000]
    validated = validate(RawBatch(1, raw, list(range(len(raw))), [], []), REAL[name])
    assert len({problem.row for problem in validated.problems}) < 0.02 * len(raw)
    assert len(REAL[name].clean(validated.typed)) > 0.9 * len(raw)


@pytest.mark.journey
@pytest.mark.slow
@pytest.mark.real
def test_housing_on_real_listings(real_data):
    frame = clean_rows(HOUSING, real(real_data, "realtor_2023_half.csv.gz"))
    assert 13_000 < len(frame) < 14_000
    ranked = compete(HOUSING, frame)
    ridge = next(trained for trained in ranked if trained.candidate == "ridge")
    assert ranked[0].metrics["test"]["rmse_log"] < 0.95 * ridge.metrics["test"]["rmse_log"]
    assert ranked[0].metrics["test"]["rmse_log"] < 0.6


def test_a_raw_row_and_its_clean_row_are_predicted_alike():
    """A raw row of the Data API, encoded by the contract, equals the row that training used."""
    for use_case, source in ((HOUSING, Market()), (DIABETES, Clinic()), (COVERTYPE, Forest())):
        raw = made(source, [1])[:2000]
        typed = validate(RawBatch(1, raw, list(range(len(raw))), [], []), use_case).typed
        frame = use_case.clean(typed)
        contract = fit_contract(use_case, frame)
        names = [f.name for f in use_case.features]
        sent = [{name: raw[index][name] for name in names} for index in frame.index]
        assert np.array_equal(
            contract.encode(contract.read(sent)), encode_frame(contract, frame), equal_nan=True
        )
