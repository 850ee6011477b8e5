"""Columns of a frame are encoded as rows are, whatever types the frame has, and a contract is fitted alike."""

from datetime import date

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_lab.data.rows import rows
from mlops_lab.features import Boolean, Category, Date, Integer, Number
from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.fit_contract import fit_contract
from tests.support.cases import small_case

CHAPTERS = {"250": "sugar", "428": "heart", "427": "heart"}
FEATURES = [
    Number("area"),
    Integer("floor"),
    Boolean("balcony"),
    Date("built"),
    Category("district", allow_unknown=True, min_count=2, max_categories=2),
    Category("zip", allow_unknown=True, min_count=1, width=5),
    Category("diagnosis", allow_unknown=True, min_count=1, mapping=CHAPTERS),
    Category("heating", min_count=2),
]
USE_CASE = small_case("regression", features=FEATURES)
DTYPES = {"area": "float64", "floor": "Int64", "balcony": "boolean", "built": "object"}
ROW = st.fixed_dictionaries(
    {
        "area": st.none() | st.floats(-3.4e38, 3.4e38).map(lambda x: x + 0.0),
        # The last one is another float32 when it isn't a float64 first.
        "floor": st.none()
        | st.integers(-9, 9)
        # The greatest is the greatest float below 2**63: `Integer.read` refuses what rounds to more.
        | st.integers(-(2**63), 2**63 - 1024)
        | st.just(2**60 + 2**36 + 1),
        "balcony": st.none() | st.booleans(),
        "built": st.none() | st.dates(),
        "district": st.none() | st.sampled_from("abcd") | st.text(max_size=3),
        "zip": st.none() | st.sampled_from(["00601", "12345"]),
        "diagnosis": st.none() | st.sampled_from(["250", "250.1", "427", "428.0", "999"]),
        "heating": st.none() | st.sampled_from(["gas", "wood"]),
        "rent": st.floats(1, 9),
    }
)


def typed(values):
    """As validation types rows; `object` for what isn't named is what a database gives."""
    frame = pd.DataFrame(values, columns=[*(f.name for f in FEATURES), "rent"], dtype="object")
    return frame.astype(DTYPES | {"rent": "float64"})


FORMS = {
    "texts": lambda frame: frame.astype({f.name: "str" for f in FEATURES if isinstance(f, Category)}),
    "as a database gives it": lambda frame: frame.astype({"floor": "float64", "balcony": "object"}),
    "categories": lambda frame: frame.assign(
        **{
            # As after the rows were chosen, no row has one of the categories.
            f.name: frame[f.name].astype("category").cat.add_categories(["gone"])
            for f in FEATURES
            if isinstance(f, Category)
        }
    ),
    "arrow": lambda frame: pyarrow.Table.from_pandas(frame).to_pandas(types_mapper=pd.ArrowDtype),
    "moments": lambda frame: frame.assign(built=frame["built"].astype("datetime64[s]")),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(values=st.lists(ROW, min_size=1, max_size=30), order=st.randoms(use_true_random=False))
def test_a_frame_of_any_types_is_encoded_as_its_rows_are(form, values, order):
    plain = typed(values)
    frame = FORMS[form](plain)
    contract = fit_contract(USE_CASE, frame)
    assert contract.model_dump_json() == fit_contract(USE_CASE, plain).model_dump_json()
    expected = contract.encode(rows(plain))
    found = encode_frame(contract, frame)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected, equal_nan=True)
    some = np.array(order.sample(range(len(values)), k=len(values) // 2), dtype=int)
    assert np.array_equal(encode_frame(contract, frame, some), expected[some], equal_nan=True)


def test_values_that_training_did_not_see_and_empty_columns():
    contract = fit_contract(USE_CASE, typed([{"district": "a", "heating": "gas", "rent": 1.0}] * 3))
    new = typed(
        [{"district": "new", "built": date(1969, 12, 31), "rent": 1.0}, {"district": "a", "rent": 1.0}]
    )
    assert encode_frame(contract, new).tolist()[0][3:] == [-1, 1, 0, 0, 0]
    assert encode_frame(contract, new)[:, 4].tolist() == [1, 2]
    assert encode_frame(contract, new.head(0)).shape == (0, len(FEATURES))
    # A column that never had a value.
    assert np.isnan(encode_frame(contract, new)[:, 0]).all()
