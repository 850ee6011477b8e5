"""A group is always in the same split, independent of other rows."""

import json
import math
from datetime import date
from hashlib import blake2b

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from mlops_lab.data.rows import rows
from mlops_lab.data.split import SHARES, hashes, split_of


def test_the_same_group_has_the_same_split_on_every_machine():
    frame = pd.DataFrame({"city": ["Bogotá", "Cali"], "zip": ["00601", None], "size": [80.0, 95.5]})
    # Written down once: a change here would move every user's rows to another split.
    assert hashes(frame, ["city", "zip", "size"]) == [
        "4495bcd3cc410d420113673427969660",
        "61828e06b8c0a4a8e0d48fa1b66c3093",
    ]


@given(st.lists(st.tuples(st.integers(), st.text()), min_size=1, max_size=50), st.randoms())
def test_a_hash_depends_neither_on_the_order_nor_on_other_rows(groups, random):
    frame = pd.DataFrame(groups, columns=["a", "b"]).astype({"a": "object"})
    alone = {row: hashes(frame.iloc[[place]], ["a", "b"])[0] for place, row in enumerate(groups)}
    shuffled = groups.copy()
    random.shuffle(shuffled)
    together = hashes(pd.DataFrame(shuffled, columns=["a", "b"]).astype({"a": "object"}), ["a", "b"])
    assert together == [alone[row] for row in shuffled]


def test_a_hash_is_of_the_row_as_one_json_list_whatever_the_columns_types_are():
    odd = [
        None,
        1,
        True,
        1.0,
        0.0,
        -0.0,
        "1",
        False,
        float("inf"),
        math.nan,
        [1, {"a": 2.0}],
        date(2020, 1, 1),
    ]
    columns = {
        "object": pd.Series(odd, dtype="object"),
        "float64": pd.Series(
            [0.0, -0.0, math.nan, 1e16, 1e-7, math.inf, 0.1, 5.0, 1 / 3, -math.inf, 2.0, 3.0]
        ),
        "str": pd.Series(
            ["a", 'ñ"\\x', "", None, "\t", "🙂", "a", None, "b", "nan", "1", "null"], dtype="str"
        ),
        "Int64": pd.Series([1, None, -5, 2**53 + 1] * 3, dtype="Int64"),
        "boolean": pd.Series([True, None, False] * 4, dtype="boolean"),
        "datetime64": pd.to_datetime(pd.Series(["2020-01-01", None] * 6)),
        "category": pd.Series(["x", "y", None] * 4, dtype="category"),
        "float32": pd.Series(range(12), dtype="float32") / 3,
    }
    frame = pd.DataFrame(columns)
    values = [list(row.values()) for row in rows(frame)]
    texts = [json.dumps(row, ensure_ascii=False, default=str) for row in values]
    assert hashes(frame, list(columns)) == [blake2b(t.encode(), digest_size=16).hexdigest() for t in texts]


def test_the_shares_are_kept():
    frame = pd.DataFrame({"id": range(20_000)})
    splits = pd.Series([split_of(value) for value in hashes(frame, ["id"])]).value_counts(normalize=True)
    for name, share in SHARES:
        assert abs(splits[name] - share) < 0.015
