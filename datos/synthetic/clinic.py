"""Synthetic data in the form of UCI 296 (diabetes): the same 50 columns and difficulties, invented patients.

`?` is missing and `None` is a value (no test was made); about three visits in ten are of a patient seen
before; 11 % of the visits are followed by another within 30 days, the more so after earlier stays,
emergencies, a transfer, kidney or heart failure and a change of insulin; nobody returns after a death
(discharge 11).
"""

import numpy as np

from datos.synthetic.table import SyntheticTable, choose

_AGES = {
    "[0-10)": 0.2, "[10-20)": 0.7, "[20-30)": 1.6, "[30-40)": 3.7, "[40-50)": 9.5, "[50-60)": 17,
    "[60-70)": 22, "[70-80)": 25.6, "[80-90)": 17, "[90-100)": 2.7,
}  # fmt: skip
_RACES = {"Caucasian": 74.8, "AfricanAmerican": 18.9, "?": 2.2, "Hispanic": 2, "Other": 1.5, "Asian": 0.6}
_WEIGHTS = {"?": 96.9, "[75-100)": 1.4, "[50-75)": 0.9, "[100-125)": 0.6, "[125-150)": 0.2}
_PAYERS = {
    "?": 39.6, "MC": 31.9, "HM": 6.2, "SP": 4.9, "BC": 4.6, "MD": 3.5, "CP": 2.5, "UN": 2.4, "CM": 1.9,
    "OG": 1, "PO": 0.6, "DM": 0.5, "CH": 0.1,
}  # fmt: skip
_SPECIALTIES = {
    "?": 49, "InternalMedicine": 14.4, "Emergency/Trauma": 7.4, "Family/GeneralPractice": 7.3,
    "Cardiology": 5.3, "Surgery-General": 3, "Nephrology": 1.6, "Orthopedics": 1.4,
    "Orthopedics-Reconstructive": 1.2, "Radiologist": 1.1, "Pulmonology": 0.9, "Psychiatry": 0.8,
    "Urology": 0.7, "Gastroenterology": 0.5,
    "Pediatrics-Endocrinology": 0.2,
}  # fmt: skip
_ADMISSION_TYPES = {"1": 53.1, "3": 18.5, "2": 18.2, "6": 5.2, "5": 4.7, "8": 0.3}
_DISCHARGES = {
    "1": 59.2, "3": 13.7, "6": 12.7, "18": 3.6, "2": 2.1, "22": 2, "11": 1.6, "5": 1.2, "25": 1, "4": 0.8,
    "7": 0.6, "13": 0.4, "14": 0.4, "28": 0.1,
}  # fmt: skip
_SOURCES = {"7": 56.5, "1": 29, "17": 6.7, "4": 3.1, "6": 2.2, "2": 1.1, "5": 0.8, "3": 0.2, "20": 0.2}
_DIAGNOSES = {
    "428": 6.7, "414": 6.5, "786": 4, "410": 3.6, "486": 3.5, "427": 2.7, "491": 2.2, "715": 2.1, "682": 2,
    "276": 5, "250": 3.5, "250.6": 1.2, "250.8": 1.7, "250.83": 0.2, "250.02": 0.7, "250.13": 0.8, "401": 3,
    "403": 2.5, "496": 2, "599": 2, "585": 1.8, "584": 1.5, "434": 1.9, "780": 1.9, "996": 1.9, "38": 1.6,
    "518": 1.4, "577": 1, "V57": 1.2, "V58": 0.5, "V45": 0.8, "E878": 0.3, "E932": 0.2, "998": 0.8,
    "453": 0.4, "285": 0.9, "305": 0.6,
}  # fmt: skip
_DRUGS = {
    "metformin": 0.20, "repaglinide": 0.015, "nateglinide": 0.007, "chlorpropamide": 0.001,
    "glimepiride": 0.051, "acetohexamide": 0.0, "glipizide": 0.125, "glyburide": 0.105, "tolbutamide": 0.0003,
    "pioglitazone": 0.072, "rosiglitazone": 0.063, "acarbose": 0.003, "miglitol": 0.0004, "troglitazone": 0.0,
    "tolazamide": 0.0004, "examide": 0.0, "citoglipton": 0.0, "insulin": 0.535, "glyburide-metformin": 0.007,
    "glipizide-metformin": 0.0001, "glimepiride-pioglitazone": 0.0, "metformin-rosiglitazone": 0.0,
    "metformin-pioglitazone": 0.0,
}  # fmt: skip
_COUNTS = (
    "encounter_id", "patient_nbr", "admission_type_id", "discharge_disposition_id", "admission_source_id",
    "time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications", "number_outpatient",
    "number_emergency", "number_inpatient", "number_diagnoses",
)  # fmt: skip


class Clinic(SyntheticTable):
    """Invented hospital visits in the columns of UCI 296."""

    source = (
        "synthetic data in the form of UCI 296, invented patients; lab data download diabetes gets the real"
    )
    columns = (
        "encounter_id", "patient_nbr", "race", "gender", "age", "weight", "admission_type_id",
        "discharge_disposition_id", "admission_source_id", "time_in_hospital", "payer_code",
        "medical_specialty", "num_lab_procedures", "num_procedures", "num_medications", "number_outpatient",
        "number_emergency", "number_inpatient", "diag_1", "diag_2", "diag_3", "number_diagnoses",
        "max_glu_serum", "A1Cresult",
        *_DRUGS, "change", "diabetesMed", "readmitted",
    )  # fmt: skip
    kinds = dict.fromkeys(_COUNTS, int)
    default_rows = 20_000
    most_rows = 101_766

    def draw(self, rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
        """See SyntheticTable."""
        patients = max(1, round(0.70 * rows))
        visit = np.concatenate([np.arange(patients), rng.integers(0, patients, rows - patients)])
        rng.shuffle(visit)
        person = {
            "patient_nbr": rng.permutation(np.arange(patients) * 9 + 135),
            "race": choose(rng, _RACES, patients),
            "gender": choose(rng, {"Female": 53.76, "Male": 46.23, "Unknown/Invalid": 0.01}, patients),
            "age": choose(rng, _AGES, patients),
            "frailty": rng.gamma(1.2, 0.55, patients),
        }
        person = {name: values[visit] for name, values in person.items()}
        frailty = person.pop("frailty")
        table = person | {
            "encounter_id": 12_522 + np.cumsum(rng.integers(6, 4_000, rows)),
            "weight": choose(rng, _WEIGHTS, rows),
            "admission_type_id": choose(rng, _ADMISSION_TYPES, rows),
            "discharge_disposition_id": choose(rng, _DISCHARGES, rows),
            "admission_source_id": choose(rng, _SOURCES, rows),
            "time_in_hospital": np.clip(1 + rng.poisson(2.2 + 1.8 * frailty), 1, 14),
            "payer_code": choose(rng, _PAYERS, rows),
            "medical_specialty": choose(rng, _SPECIALTIES, rows),
            "num_lab_procedures": np.clip(np.round(rng.normal(43, 19, rows)), 1, 118).astype(int),
            "num_procedures": np.minimum(rng.poisson(1.3, rows), 6),
            "num_medications": np.clip(np.round(rng.gamma(4.0, 3.2 + 1.2 * frailty)), 1, 75).astype(int),
            "number_outpatient": rng.poisson(0.55 * frailty * (rng.random(rows) < 0.6)),
            "number_emergency": rng.poisson(0.30 * frailty),
            "number_inpatient": rng.poisson(0.95 * frailty),
            "diag_1": choose(rng, _DIAGNOSES | {"?": 0.02}, rows),
            "diag_2": choose(rng, _DIAGNOSES | {"?": 0.4, "250": 7}, rows),
            "diag_3": choose(rng, _DIAGNOSES | {"?": 1.4, "250": 13, "401": 9}, rows),
            "number_diagnoses": np.clip(rng.binomial(9, 0.55 + 0.15 * np.minimum(frailty, 2), rows), 1, 16),
            "max_glu_serum": choose(rng, {"None": 94.7, "Norm": 2.6, ">200": 1.5, ">300": 1.2}, rows),
            "A1Cresult": choose(rng, {"None": 83.3, ">8": 8.1, "Norm": 4.9, ">7": 3.7}, rows),
        }
        for drug, share in _DRUGS.items():
            table[drug] = choose(rng, _doses(drug, share), rows)
        taken = np.stack([table[drug] for drug in _DRUGS])
        table["change"] = np.where(np.isin(taken, ("Up", "Down")).any(axis=0), "Ch", "No").astype(object)
        table["diabetesMed"] = np.where((taken != "No").any(axis=0), "Yes", "No").astype(object)
        table["readmitted"] = _readmitted(rng, table)
        return table


def _doses(drug: str, share: float) -> dict[str, float]:
    moved = 0.43 if drug == "insulin" else 0.10
    return {
        "No": 1 - share,
        "Steady": share * (1 - moved),
        "Up": share * moved / 2,
        "Down": share * moved / 2,
    }


def _readmitted(rng: np.random.Generator, table: dict[str, np.ndarray]) -> np.ndarray:
    """Whether each visit was followed by another, from what its row shows."""
    discharge = table["discharge_disposition_id"]
    diagnoses = [table[name] for name in ("diag_1", "diag_2", "diag_3")]
    failing = sum(np.isin(codes, ("428", "585", "403", "584")) for codes in diagnoses)
    old = np.isin(table["age"], ("[70-80)", "[80-90)", "[90-100)"))
    score = (
        0.55 * np.minimum(table["number_inpatient"], 5)
        + 0.30 * np.minimum(table["number_emergency"], 4)
        + 0.90 * np.isin(discharge, ("3", "5", "22", "28"))
        + 0.40 * failing
        + 0.35 * old
        + 0.45 * np.isin(table["insulin"], ("Up", "Down"))
        + 0.06 * (table["time_in_hospital"] - 4)
        - 0.25 * (table["A1Cresult"] == "Norm")
        + 0.50 * (old & (table["number_inpatient"] >= 2))
    )
    soon = 1 / (1 + np.exp(3.42 - score))
    later = 1 / (1 + np.exp(0.95 - 0.5 * score))
    back = np.where(rng.random(len(score)) < later, ">30", "NO").astype(object)
    back[rng.random(len(score)) < soon] = "<30"
    back[np.isin(discharge, ("11", "13", "14"))] = "NO"
    return back
