"""Whether a diabetic patient is back in hospital within 30 days of leaving it."""

from mlops_lab import (
    ROC_AUC,
    Boolean,
    Category,
    Integer,
    PromotionPolicy,
    UseCase,
    gradient_boosting,
    logistic_regression,
    over_sampled,
    random_forest,
    select_k_best,
)

# Two of UCI's 23 drugs are left out, because no patient got them: examide and citoglipton.
DRUGS = [
    "metformin", "repaglinide", "nateglinide", "chlorpropamide", "glimepiride", "acetohexamide", "glipizide",
    "glyburide", "tolbutamide", "pioglitazone", "rosiglitazone", "acarbose", "miglitol", "troglitazone", "tolazamide",
    "insulin", "glyburide-metformin", "glipizide-metformin", "glimepiride-pioglitazone", "metformin-rosiglitazone",
    "metformin-pioglitazone",
]  # fmt: skip
# Discharged to death or to a hospice (UCI's IDs_mapping): these patients can't come back.
NO_RETURN = ["11", "13", "14", "19", "20", "21"]

# The words of UCI's IDs_mapping.
ADMISSION_TYPES = {
    "1": "Emergency", "2": "Urgent", "3": "Elective", "4": "Newborn", "5": "Not available", "6": "Null",
    "7": "Trauma center", "8": "Not mapped",
}  # fmt: skip
DISCHARGES = {
    "1": "Home", "2": "Another short-term hospital", "3": "Skilled nursing facility",
    "4": "Intermediate care facility", "5": "Another inpatient institution", "6": "Home with home health service",
    "7": "Left against medical advice", "8": "Home with home IV provider", "9": "Inpatient of this hospital",
    "10": "Another hospital for neonatal aftercare", "11": "Expired", "12": "Still patient, or back as outpatient",
    "13": "Hospice at home", "14": "Hospice in a medical facility", "15": "Swing bed of this institution",
    "16": "Outpatient services of another institution", "17": "Outpatient services of this institution",
    "18": "Null", "19": "Expired at home, in hospice care", "20": "Expired in a medical facility, in hospice care",
    "21": "Expired, place unknown, in hospice care", "22": "Rehabilitation facility", "23": "Long-term care hospital",
    "24": "Nursing facility under Medicaid only", "25": "Not mapped", "26": "Unknown or invalid",
    "27": "Federal health care facility", "28": "Psychiatric hospital or unit", "29": "Critical access hospital",
    "30": "Another health care institution",
}  # fmt: skip
ADMISSION_SOURCES = {
    "1": "Physician referral", "2": "Clinic referral", "3": "HMO referral", "4": "Another hospital",
    "5": "Skilled nursing facility", "6": "Another health care facility", "7": "Emergency room",
    "8": "Court or law enforcement", "9": "Not available", "10": "Critical access hospital", "11": "Normal delivery",
    "12": "Premature delivery", "13": "Sick baby", "14": "Extramural birth", "15": "Not available (15)", "17": "Null",
    "18": "Another home health agency", "19": "Same home health agency, again", "20": "Not mapped",
    "21": "Unknown or invalid", "22": "Same hospital, separate claim", "23": "Born inside this hospital",
    "24": "Born outside this hospital", "25": "Ambulatory surgery center", "26": "Hospice",
}  # fmt: skip

# The 50 columns in UCI's order.
LAYOUT = """encounter_id patient_nbr race gender age weight admission_type_id discharge_disposition_id
    admission_source_id time_in_hospital payer_code medical_specialty num_lab_procedures num_procedures num_medications
    number_outpatient number_emergency number_inpatient diag_1 diag_2 diag_3 number_diagnoses max_glu_serum A1Cresult
    metformin repaglinide nateglinide chlorpropamide glimepiride acetohexamide glipizide glyburide tolbutamide
    pioglitazone rosiglitazone acarbose miglitol troglitazone tolazamide examide citoglipton insulin
    glyburide-metformin glipizide-metformin glimepiride-pioglitazone metformin-rosiglitazone metformin-pioglitazone
    change diabetesMed readmitted""".split()

# First codes of the chapters of ICD-9; diabetes, and the symptoms of three organs, apart (Strack et al., 2014).
CHAPTERS = {
    1: "infection", 140: "neoplasm", 240: "endocrine", 250: "diabetes", 251: "endocrine", 280: "blood", 290: "mental",
    320: "nervous", 390: "circulatory", 460: "respiratory", 520: "digestive", 580: "genitourinary", 630: "pregnancy",
    680: "skin", 710: "musculoskeletal", 740: "congenital", 760: "perinatal", 780: "symptom", 785: "circulatory",
    786: "respiratory", 787: "digestive", 788: "genitourinary", 789: "symptom", 800: "injury",
}  # fmt: skip


def icd9() -> dict[str, str]:
    """Whole ICD-9 codes and their chapter; digits after the point don't count."""
    groups = {f"V{code:02}": "supplementary" for code in range(1, 92)}
    groups |= {f"E{code}": "external cause" for code in range(800, 1000)}
    chapter = ""
    for code in range(1, 1000):
        chapter = CHAPTERS.get(code, chapter)
        groups |= {str(code): chapter, f"{code:03}": chapter}
    return groups


def clean(frame):
    """Stays that were followed up; `readmitted` says `<30`, `>30` or `NO`."""
    frame = frame[frame["readmitted"].notna() & ~frame["discharge_disposition_id"].isin(NO_RETURN)].copy()
    frame["readmitted_early"] = (frame["readmitted"] == "<30").astype("boolean")
    return frame


ICD9 = icd9()
USE_CASE = UseCase(
    name="diabetes",
    title="Early readmission",
    description="Back in hospital within 30 days. 130 US hospitals, 1999 to 2008 (UCI 296).",
    dataset="diabetes",
    target=Boolean("readmitted_early", "Back within 30 days"),
    derived_target=True,
    extra=[Category("patient_nbr", allow_unknown=True), Category("readmitted", allowed=["NO", ">30", "<30"])],
    layouts=[LAYOUT],
    group_key=["patient_nbr"],
    missing=["?"],  # "None" is a value: the test wasn't made
    features=[
        Category("race", allow_unknown=True),
        Category("gender", allowed=["Female", "Male", "Unknown/Invalid"]),
        Category("age", unit="years", allowed=[f"[{age}-{age + 10})" for age in range(0, 100, 10)]),
        Category("weight", unit="pounds", allow_unknown=True),
        Category("admission_type_id", "Type of admission", allow_unknown=True, labels=ADMISSION_TYPES),
        Category("discharge_disposition_id", "Discharged to", allow_unknown=True, labels=DISCHARGES),
        Category("admission_source_id", "Admitted from", allow_unknown=True, labels=ADMISSION_SOURCES),
        Integer("time_in_hospital", unit="days", minimum=0, maximum=365),
        Category("payer_code", allow_unknown=True),
        Category("medical_specialty", "Specialty of the admitting physician", allow_unknown=True),
        Integer("num_lab_procedures", "Lab tests", minimum=0, maximum=1000),
        Integer("num_procedures", "Other procedures", minimum=0, maximum=100),
        Integer("num_medications", "Medications", minimum=0, maximum=300),
        Integer("number_outpatient", "Outpatient visits in the year before", minimum=0, maximum=366),
        Integer("number_emergency", "Emergency visits in the year before", minimum=0, maximum=366),
        Integer("number_inpatient", "Inpatient stays in the year before", minimum=0, maximum=366),
        Category("diag_1", "First diagnosis", description="ICD-9 code.", allow_unknown=True, mapping=ICD9),
        Category("diag_2", "Second diagnosis", description="ICD-9 code.", allow_unknown=True, mapping=ICD9),
        Category("diag_3", "Third diagnosis", description="ICD-9 code.", allow_unknown=True, mapping=ICD9),
        Integer("number_diagnoses", "Diagnoses", minimum=0, maximum=100),
        Category("max_glu_serum", "Glucose serum test", allowed=["None", "Norm", ">200", ">300"]),
        Category("A1Cresult", "HbA1c test", allowed=["None", "Norm", ">7", ">8"]),
        *(Category(drug, f"Dose of {drug}", allowed=["No", "Steady", "Up", "Down"]) for drug in DRUGS),
        Category("change", "Change of medication", allowed=["No", "Ch"]),
        Category("diabetesMed", "Any diabetes medication", allowed=["No", "Yes"]),
    ],
    clean=clean,
    candidates=[
        logistic_regression(C=(0.01, 0.1, 1)),
        select_k_best(50),
        over_sampled(logistic_regression(C=(0.01,))),
        random_forest({"n_estimators": 100}, {"n_estimators": 200}, {"max_depth": 10}),
        gradient_boosting(
            {"num_leaves": 15, "min_child_samples": 100, "colsample_bytree": 0.3, "reg_lambda": 10.0},
        ),
    ],
    metric=ROC_AUC,
    # A group of patients must not pay for the gain of the others. ROC AUC itself bounds the Brier score.
    promotion=PromotionPolicy(
        margin=0.01, slices={"race": 0.05, "gender": 0.05, "age": 0.05}, slice_rows=500
    ),
)
