"""The contracts of three small use cases, one for each task, as a training would make them."""

from datetime import UTC, date, datetime

import numpy as np

from mlops_lab.contract import Contract, Interval
from mlops_lab.evaluation import Evaluation, Slice
from mlops_lab.features import Boolean, Category, Date, Integer, Number
from mlops_lab.history import Lineage

STATES = ["California", "Texas", "Florida", "New York", "Puerto Rico"]
# A value that a page must show and not draw.
ODD_STATE = "<img src=//evil.example/x.png> ![x](//evil.example/y.png)"
CITIES = [f"City {place:03}" for place in range(300)]
CODES = {str(code): f"Chapter {code // 100}" for code in range(2500)}  # too many to send to a page


def housing() -> Contract:
    return _contract(
        "housing",
        "House price",
        "regression",
        Number("price", unit="USD", minimum=1),
        [
            Integer("bed", "Bedrooms", minimum=0, maximum=60, example=3),
            Integer("bath", "Bathrooms", minimum=0, maximum=60, example=2),
            Number("acre_lot", "Lot size", unit="acre", minimum=0, maximum=100_000, example=0.12),
            Number(
                "house_size",
                "House size",
                unit="sqft",
                minimum=100,
                maximum=100_000,
                example=1500,
                required=True,
            ),
            Category("state", "State or territory", vocabulary=STATES, example="California"),
            Category("city", "City", allow_unknown=True, vocabulary=CITIES, example="City 007"),
            Category(
                "zip_code",
                "Zip code",
                allow_unknown=True,
                width=5,
                vocabulary=["00601", "90210", "10001"],
                example="00601",
            ),
            Category(
                "status",
                "Status",
                allowed=["for_sale", "sold"],
                vocabulary=["for_sale", "sold"],
                labels={"for_sale": "For sale"},
                example="for_sale",
            ),
            Boolean("new_build", "New building", example=False),
            Date("prev_sold_date", "Sold before on", minimum=date(1900, 1, 1), example="2019-06-01"),
        ],
        metric="rmse_log",
        greater_is_better=False,
        description="The asking price of a listed property in the United States.",
        interval=Interval(level=0.9, log=False, edges=[], radii=[50_000.0], rows=400, groups=300),
        metrics={"test": {"rmse_log": 0.332, "mdape": 0.177, "mae": 56_769.8}},
        evaluation=Evaluation(
            rows=2214,
            groups=2000,
            intervals={"rmse_log": (0.32, 0.345)},
            slices=[
                Slice(by="state", value=ODD_STATE, metric="rmse_log", rows=300, score=0.4, low=0.3, high=0.5)
            ],
        ),
        target_scale=60_000.0,
    )


def diabetes() -> Contract:
    """47 fields, so that the form is a long one; one field has more values than a page can hold."""
    measures = [
        Integer(f"count_{n}", f"Number of visits {n}", minimum=0, maximum=120, example=n % 7)
        for n in range(10)
    ]
    drugs = [
        Category(
            f"drug_{n}",
            f"Drug {n}",
            allowed=["No", "Steady", "Up", "Down"],
            vocabulary=["No", "Steady", "Up", "Down"],
            example="No",
        )
        for n in range(36)
    ]
    diagnosis = Category(
        "diag_1",
        "Diagnosis",
        mapping=CODES,
        allowed=list(CODES),
        vocabulary=[f"Chapter {n}" for n in range(25)],
        example="250",
    )
    return _contract(
        "diabetes",
        "Readmission",
        "binary",
        Boolean("readmitted", "Readmitted within 30 days"),
        [*measures, diagnosis, *drugs],
        metric="roc_auc",
        greater_is_better=True,
        classes=["false", "true"],
        threshold=0.11,
        target_scale=0.6,
    )


def covertype() -> Contract:
    kinds = [
        "Spruce/Fir",
        "Lodgepole Pine",
        "Ponderosa Pine",
        "Cottonwood/Willow",
        "Aspen",
        "Douglas-fir",
        "Krummholz",
    ]
    return _contract(
        "covertype",
        "Forest cover",
        "multiclass",
        Category(
            "cover_type", "Cover type", description="What grows there most.", allowed=kinds, vocabulary=kinds
        ),
        [
            Number("elevation", "Elevation", unit="m", minimum=0, maximum=9000, example=2800.0),
            Number("slope", "Slope", unit="degree", minimum=0, maximum=90, example=12.0),
            Category(
                "wilderness_area",
                "Wilderness area",
                vocabulary=["Rawah", "Neota", "Comanche", "Cache"],
                example="Rawah",
            ),
        ],
        metric="f1_macro",
        greater_is_better=True,
        classes=kinds,
        target_scale=1.0,
    )


def with_features(contract: Contract, features: list) -> Contract:
    """The same use case, trained again with other features."""
    fields = {name: getattr(contract, name) for name in Contract.model_fields}
    del fields["background"], fields["lineage"], fields["format"], fields["target_reference"]
    return _contract(**fields | {"features": features}, target_scale=contract.target_reference["std"])


def _contract(use_case, title, task, target, features, target_scale, **values) -> Contract:
    generator = np.random.default_rng(7)
    draft = Contract(
        use_case=use_case,
        title=title,
        task=task,
        target=target,
        features=features,
        target_reference={"std": target_scale},
        **values,
    )
    example = draft.encode(draft.read([draft.example]))[0].astype(float)
    background = example + generator.normal(0, 1, (20, len(features))).round(3) * (
        np.abs(example) * 0.1 + 0.5
    )
    return draft.model_copy(
        update={
            "background": background.tolist(),
            "lineage": Lineage(
                run_id="",
                candidate="gradient_boosting",
                batches=[1],
                rows={"train": 60},
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
            ),
        }
    )
