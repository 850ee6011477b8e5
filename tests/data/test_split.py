"""A group is always in the same split, independent of other rows."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

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


def test_the_shares_are_kept():
    frame = pd.DataFrame({"id": range(20_000)})
    splits = pd.Series([split_of(value) for value in hashes(frame, ["id"])]).value_counts(normalize=True)
    for name, share in SHARES:
        assert abs(splits[name] - share) < 0.015
