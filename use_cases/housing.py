"""The price of a house or a piece of land in the United States, from what a listing says."""

from mlops_lab.candidates import gradient_boosting, linear_regression, random_forest, ridge
from mlops_lab.contract import Category, Date, Number
from mlops_lab.use_case import RMSE_LOG, UseCase

LOWEST_PRICE = 1_000  # USD; below, a listing states no price (0, 1, a rent)
LARGEST_LOT = 5_000  # acres; above, a mistake in the unit (square feet)
MOST_ROOMS = 40  # above, a mistake or a whole apartment building


def clean(frame):
    """Listings with a price; numbers that can't be true become unknown."""
    frame = frame[frame["price"] >= LOWEST_PRICE].copy()
    frame["acre_lot"] = frame["acre_lot"].where(frame["acre_lot"] <= LARGEST_LOT)
    for rooms in ("bed", "bath"):
        frame[rooms] = frame[rooms].where(frame[rooms] <= MOST_ROOMS)
    return frame


USE_CASE = UseCase(
    name="housing",
    title="House price",
    description="The price that a listing asks for. Ids of broker and street are left out: they only look like numbers.",
    dataset="realtor",
    target=Number("price", "Price", unit="USD", minimum=1, maximum=1e9),
    # The property, not the listing: it is listed again at another price.
    group_key=["city", "state", "zip_code", "house_size", "bed", "bath", "acre_lot"],
    features=[
        Category("status", "Status of the listing", open=True),
        Number("bed", "Bedrooms", minimum=0, maximum=200),
        Number("bath", "Bathrooms", minimum=0, maximum=200),
        Number("acre_lot", "Size of the lot", unit="acre", minimum=0, maximum=200_000),
        Category("state", "State or territory", open=True),
        Category("city", "City", open=True),
        Category("zip_code", "Zip code", open=True, width=5, description="Five digits."),
        Number("house_size", "Living area", unit="square foot", minimum=50, maximum=200_000),
        Date("prev_sold_date", "Sold before on", description="Empty when it was never sold before."),
    ],
    layouts=[
        ["brokered_by", "status", "price", "bed", "bath", "acre_lot", "street", "city", "state", "zip_code",
         "house_size", "prev_sold_date"],
        ["status", "bed", "bath", "acre_lot", "city", "state", "zip_code", "house_size", "prev_sold_date", "price"],
    ],  # fmt: skip
    clean=clean,
    candidates=[
        linear_regression(log_target=True),
        ridge(log_target=True),
        random_forest(log_target=True, encoding="target"),
        gradient_boosting(log_target=True, encoding="target"),
    ],
    metric=RMSE_LOG,
)
