"""The synthetic clinic and forest: the same everywhere, with columns, traps and signal of the real ones."""

import gzip
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.metrics import roc_auc_score

from datos.synthetic.clinic import Clinic
from datos.synthetic.forest import Forest


def table_of(data) -> pd.DataFrame:
    batches = [
        pd.DataFrame(data.read(number), columns=data.columns) for number in range(1, len(data.sizes) + 1)
    ]
    return pd.concat(batches, ignore_index=True)


@pytest.fixture(scope="module")
def clinic():
    return table_of(Clinic())


@pytest.fixture(scope="module")
def forest():
    return table_of(Forest())


def header(path) -> list[str]:
    with gzip.open(path, "rt") as file:
        return file.readline().rstrip("\n").split(",")


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (Clinic(7, 0.005), "cfb1b4d9f31d3c74d8dba624a1f570cb2925b8cb5f37e3fd4ae30792a630272a"),
        (Forest(7, 0.005), "aa686aa367c61c5d7e47047c4e79b50f7846b64545b8cf031db72e0ef09abbb6"),
    ],
)
def test_the_same_bytes_everywhere(data, digest):
    rows = [data.read(number) for number in range(1, 5)]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == digest


def test_columns_are_the_published_ones(clinic, forest, real_file):
    assert list(clinic.columns) == header(real_file("diabetic_data.csv.gz"))
    assert list(forest.columns) == header(real_file("covertype_group5_unique.csv.gz"))


def test_the_clinic_has_the_traps_of_the_real_one(clinic):
    assert clinic.shape == (20_000, 50)
    assert (clinic["readmitted"] == "<30").mean() == pytest.approx(0.112, abs=0.01)
    assert set(clinic["readmitted"]) == {"<30", ">30", "NO"}
    assert clinic["patient_nbr"].duplicated().mean() == pytest.approx(0.30, abs=0.01)
    assert clinic["encounter_id"].is_unique
    assert (clinic["weight"] == "?").mean() > 0.9
    assert (clinic["A1Cresult"] == "None").mean() == pytest.approx(0.83, abs=0.02)
    assert clinic["diag_1"].str.fullmatch(r"\?|[EV]?\d{1,3}(\.\d+)?").all()
    assert clinic["diag_3"].str.startswith("V").any()
    assert not (clinic == "").any().any()
    dead = clinic["discharge_disposition_id"] == "11"
    assert dead.any()
    assert (clinic.loc[dead, "readmitted"] == "NO").all()


def test_readmission_can_be_learnt_on_other_patients(clinic):
    columns = clinic.drop(columns=["encounter_id", "patient_nbr", "readmitted"])
    coded = columns.apply(
        lambda c: pd.to_numeric(c) if c.name in Clinic.kinds else c.astype("category").cat.codes
    )
    soon = clinic["readmitted"] == "<30"
    test = clinic["patient_nbr"].astype(int) % 5 == 0
    model = LGBMClassifier(n_estimators=80, learning_rate=0.05, num_leaves=15, n_jobs=1, verbose=-1)
    model.fit(coded[~test], soon[~test])
    assert 0.68 < roc_auc_score(soon[test], model.predict_proba(coded[test])[:, 1]) < 0.85


def test_the_forest_has_the_traps_of_the_real_one(forest):
    assert forest.shape == (16_000, 13)
    shares = forest["Cover_Type"].value_counts(normalize=True)
    assert set(shares.index) == set("0123456")
    assert shares["3"] < 0.005
    assert set(forest["Cover_Type"].head(4_000)) == set("0123456")
    assert 0.05 < forest.duplicated().mean() < 0.12
    assert set(forest["Wilderness_Area"]) == {"Rawah", "Neota", "Commanche", "Cache"}
    assert forest["Soil_Type"].str.fullmatch(r"C\d{4}").all()
    assert (
        forest.drop(columns=["Wilderness_Area", "Soil_Type"])
        .map(lambda v: v.lstrip("-").isdigit())
        .all()
        .all()
    )


def test_cover_can_be_learnt(forest):
    rows = forest.drop_duplicates()
    coded = rows.apply(
        lambda c: pd.to_numeric(c) if c.name in Forest.kinds else c.astype("category").cat.codes
    )
    features, cover = coded.drop(columns="Cover_Type"), coded["Cover_Type"]
    test = np.arange(len(rows)) % 5 == 0
    model = LGBMClassifier(n_estimators=30, min_child_weight=1, n_jobs=1, verbose=-1).fit(
        features[~test], cover[~test]
    )
    accuracy = (model.predict(features[test]) == cover[test]).mean()
    assert cover.value_counts(normalize=True).iloc[0] + 0.35 < accuracy < 0.97
