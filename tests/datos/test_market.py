"""The synthetic market: the same on every machine, shaped like the real one, with the computed best score."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from datos.synthetic.market import BATCHES, COLUMNS, SIGMA, Market

PROPERTY = ["city", "state", "zip_code", "house_size", "bed", "bath", "acre_lot"]
NUMBERS = ["bed", "bath", "acre_lot", "house_size"]


@pytest.fixture(scope="module")
def market():
    return Market()


@pytest.fixture(scope="module")
def served(market) -> pd.DataFrame:
    """Every row of every batch as texts, with its `batch`, and `bad` as a plain validation finds it."""
    frames = [pd.DataFrame(market.read(number), columns=COLUMNS).assign(batch=number) for number in BATCHES]
    rows = pd.concat(frames, ignore_index=True)
    numbers = rows[["price", *NUMBERS]].apply(pd.to_numeric, errors="coerce")
    text = (numbers.isna() & (rows[numbers.columns] != "")).any(axis=1)
    small = (numbers < 0).any(axis=1) | (numbers["price"] < 1)
    large = (numbers["house_size"] > 1e6) | (numbers["bed"] > 60)
    return rows.assign(bad=text | small | large)


@pytest.fixture(scope="module")
def listings(served) -> pd.DataFrame:
    """The good rows, each once, with numbers."""
    rows = served[~served["bad"]].drop_duplicates(list(COLUMNS)).reset_index(drop=True)
    numbers = rows[["price", *NUMBERS]].apply(pd.to_numeric)
    return rows.assign(**{f"{name}_number": numbers[name] for name in numbers})


def digest(market) -> str:
    rows = [market.read(number) for number in BATCHES]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def test_the_same_bytes_everywhere(market):
    assert digest(Market(7, 0.005)) == "115d717259a0b44f0180d5d8f79673c1c716485706a26211ff7e28698e6e3b59"
    assert digest(market) == "d75aec543c05f5571ac925c09a46e1227937624fbffb5619cbfa292233d08d05"
    assert digest(Market(8, 0.005)) != digest(Market(7, 0.005))


def test_batches_in_any_order_are_the_same(market):
    assert Market().read(4) == market.read(4)


def test_sizes_follow_the_course():
    assert Market(scale=1).sizes == (140_000, 100_000, 4_055, 190_000, 361_457, 100_000)
    assert sum(Market().sizes) == 35_820


@pytest.mark.parametrize("scale", [0, -1, 3, 0.004])
def test_a_scale_out_of_range(scale):
    with pytest.raises(ValueError, match=r"0\.005 to 2"):
        Market(scale=scale)


@pytest.mark.parametrize("seed", range(5))
def test_every_seed_makes_a_market(seed):
    market = Market(seed, 0.005)
    assert [len(market.read(number)) for number in BATCHES] == list(market.sizes)


def test_batches_are_cut_by_price(listings):
    price = listings.groupby("batch")["price_number"].agg(["min", "max"])
    assert price.loc[[1, 2], "max"].max() <= 300_000
    assert price.loc[[3, 4], "min"].min() > 300_000
    assert price.loc[[3, 4], "max"].max() <= 500_000
    assert price.loc[5, "min"] > 500_000


def test_null_rates_are_those_of_the_real_listings(served):
    # Of realtor_2023_half.csv.gz; here land and flats are the nulls, so bed, bath and house_size go together.
    real = {"bed": 0.184, "bath": 0.181, "acre_lot": 0.218, "house_size": 0.175, "prev_sold_date": 0.646}
    rates = (served[list(COLUMNS)] == "").mean()
    for name, rate in real.items():
        assert rates[name] == pytest.approx(rate, abs=0.02), name
    assert 0 < rates["city"] < 0.002
    assert 0 < rates["zip_code"] < 0.002
    assert (rates[["brokered_by", "status", "price", "street", "state"]] == 0).all()


def test_texts_look_like_the_real_ones(served, real_file):
    real = pd.read_csv(real_file("realtor_p4_batch3_12col.csv"), dtype=str, keep_default_na=False)
    assert list(real.columns) == list(COLUMNS)
    good = served[~served["bad"]]
    for name, pattern in {
        "prev_sold_date": r"\d{4}-\d\d-\d\d",
        "zip_code": r"\d+\.0",
        "price": r"\d+\.0",
        "acre_lot": r"\d+\.\d+",
        "street": r"\d+\.0",
        "status": r"for_sale|sold|ready_to_build",
    }.items():
        for rows in (real[name], good[name]):
            assert rows[rows != ""].str.fullmatch(pattern).all(), name


def test_duplicates_and_the_last_batch(served):
    rows = pd.Series(["|".join(row) for row in served[list(COLUMNS)].to_numpy()])
    for number in BATCHES[:-1]:
        share = rows[served["batch"] == number].duplicated().mean()
        assert 0.15 < share < 0.40, number
    earlier = set(rows[served["batch"] < 6])
    assert rows[served["batch"] == 6].isin(earlier).mean() >= 0.90
    assert not rows[(served["batch"] == 4)].isin(set(rows[served["batch"] < 4])).any()


def test_some_properties_are_listed_again_at_another_price(listings):
    homes = listings[(listings["house_size"] != "") & (listings["acre_lot"] != "")]
    again = homes[homes.duplicated([*PROPERTY, "street"], keep=False)]
    assert 0.05 < len(again) / len(homes) < 0.20
    assert again.groupby([*PROPERTY, "street"])["price"].nunique().mean() > 1.9


def test_bad_rows_are_few_and_known(market, served):
    for number in BATCHES:
        rows = served[served["batch"] == number].reset_index(drop=True)
        assert list(rows.index[rows["bad"]]) == sorted(market.batch(number).bad)
        assert sum(market.expected_quarantine(number).values()) == rows["bad"].sum()
    assert served["bad"].mean() == pytest.approx(0.005, abs=0.0005)
    assert not served[served["bad"]].duplicated(list(COLUMNS)).any()
    assert set().union(*(market.expected_quarantine(number) for number in BATCHES)) >= {
        "price is zero",
        "price is text",
        "bed is negative",
        "house_size is absurd",
    }


@pytest.mark.parametrize("batches", [(1,), (1, 2), (5,), (1, 2, 3, 4), (1, 2, 3, 4, 5), BATCHES])
def test_the_best_prediction_has_the_computed_score(market, listings, batches):
    rows = listings[listings["batch"].isin(batches)]
    log_price = np.log(rows["price_number"])
    best = market.best_rmse_log(rows, batches)
    residual = log_price - market.best_prediction_log(rows, batches)
    assert np.sqrt((residual**2).mean()) == pytest.approx(best, rel=4 / np.sqrt(2 * len(rows)))
    assert abs(residual.mean()) < 4 * best / np.sqrt(len(rows))
    assert best < SIGMA + 1e-9
    if batches == BATCHES:
        assert best == pytest.approx(SIGMA, rel=1e-9)


def test_boosting_comes_near_the_best_and_beats_ridge(market, listings):
    key = pd.Series(["|".join(row) for row in listings[PROPERTY].to_numpy()])
    part = key.map(lambda text: int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) % 100)
    train, validation, test = part < 60, (part >= 60) & (part < 80), part >= 80
    log_price = np.log(listings["price_number"])
    numbers = [f"{name}_number" for name in NUMBERS]

    coded = listings[numbers].copy()
    for name in ("city", "state", "zip_code"):
        frequent = listings.loc[train, name].value_counts().loc[lambda counts: counts >= 20].index
        codes = {value: code for code, value in enumerate(frequent, start=2)} | {"": 0}
        coded[name] = listings[name].map(codes).fillna(1)
    boosting = LGBMRegressor(
        n_estimators=400,
        learning_rate=0.05,
        min_child_samples=20,
        colsample_bytree=0.7,
        reg_lambda=5,
        n_jobs=1,
        verbose=-1,
    ).fit(coded[train], log_price[train])
    ridge = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="ignore", min_frequency=20), ["city", "state", "zip_code"]),
        ),
        Ridge(),
    ).fit(listings[train], log_price[train])

    def rmse(predicted):
        return float(np.sqrt(((log_price[test] - predicted) ** 2).mean()))

    best = market.best_rmse_log(listings[test])
    boosted, linear = rmse(boosting.predict(coded[test])), rmse(ridge.predict(listings[test]))
    assert 0.97 * best < boosted < 1.10 * best
    assert linear > 1.10 * boosted
    assert rmse(log_price[train].mean()) > 2 * boosted
    assert validation.any()
