"""The price of a house or a piece of land in the United States, from its listing."""

from mlops_lab import (
    RMSE_LOG,
    Category,
    Date,
    Number,
    PromotionPolicy,
    UseCase,
    gradient_boosting,
    linear_regression,
    random_forest,
    ridge,
)

LOWEST_PRICE = 1_000  # USD; below, a listing states no price (0, 1, a rent)

LAYOUT_12 = [
    "brokered_by", "status", "price", "bed", "bath", "acre_lot", "street", "city", "state", "zip_code", "house_size",
    "prev_sold_date",
]  # fmt: skip
LAYOUT_10 = [
    "status", "bed", "bath", "acre_lot", "city", "state", "zip_code", "house_size", "prev_sold_date", "price",
]  # fmt: skip

# Errors of log price above 0.4 count in proportion to their size, and not to its square: a few mansions and ruins
# would decide over the trees (Huber, "Robust estimation of a location parameter", 1964).
ROBUST = {"objective": "huber", "alpha": 0.4, "min_child_samples": 10, "subsample": 0.8, "subsample_freq": 1}


def clean(frame):
    """Listings that state a price. Odd sizes stay: a caller may send them too, and must get the same answer."""
    return frame[frame["price"] >= LOWEST_PRICE]


USE_CASE = UseCase(
    name="housing",
    title="House price",
    description="The price of a listing. Broker and street are left out, because their numbers are only ids.",
    dataset="realtor",
    target=Number("price", "Price", unit="USD", minimum=1, maximum=1e9),
    # The property, not the listing: it is listed again at another price.
    group_key=["city", "state", "zip_code", "house_size", "bed", "bath", "acre_lot"],
    features=[
        Category("status", "Status of the listing", allow_unknown=True),
        Number("bed", "Bedrooms", minimum=0, maximum=200),
        Number("bath", "Bathrooms", minimum=0, maximum=200),
        Number("acre_lot", "Size of the lot", unit="acre", minimum=0, maximum=200_000),
        Category("state", "State or territory", allow_unknown=True),
        Category("city", "City", allow_unknown=True, min_count=2, max_categories=3000),
        Category(
            "zip_code",
            "Zip code",
            description="Five digits.",
            allow_unknown=True,
            width=5,
            min_count=2,
            max_categories=3000,
        ),
        Number("house_size", "Living area", unit="square foot", minimum=50, maximum=200_000),
        Date("prev_sold_date", "Sold before on", description="Empty when it was never sold before."),
    ],
    layouts=[LAYOUT_12, LAYOUT_10],
    clean=clean,
    candidates=[
        linear_regression(log_target=True),
        ridge(log_target=True),
        random_forest({"n_estimators": 60}, log_target=True, encoding="target"),
        gradient_boosting(
            {"num_leaves": 15, **ROBUST}, {"num_leaves": 63, **ROBUST}, log_target=True, encoding="target"
        ),
    ],
    metric=RMSE_LOG,
    # Prices per cent decide; the error in dollars and that of a state with many listings must not grow with it.
    promotion=PromotionPolicy(margin=0.01, bounds={"mae": 0.03}, slices={"state": 0.1}, slice_rows=200),
)
