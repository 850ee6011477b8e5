"""The bootstrap draws whole groups."""

import numpy as np
import pytest

from mlops_lab.model.bootstrap import RESAMPLES, resample

RANDOM = np.random.default_rng(0)


def test_rows_of_one_group_are_drawn_together():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    seen = []

    def count(picked):
        seen.append(np.bincount(picked, minlength=len(groups)))
        return 0.0

    assert len(resample(groups, count)) == RESAMPLES == len(seen)
    times = np.array(seen)
    assert (times[:, [0, 2, 5]] == times[:, [0]]).all()
    assert (times[:, [1, 4]] == times[:, [1]]).all()
    # Three groups are drawn each time, some of them twice.
    assert (times[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert times.max() > 1


def test_with_one_group_per_row_it_is_the_usual_bootstrap():
    """The standard error of a mean is the standard deviation divided by √n."""
    values = RANDOM.normal(size=400)
    means = resample(np.arange(400), lambda picked: values[picked].mean())
    assert means.std() == pytest.approx(values.std() / 20, rel=0.15)


def test_rows_that_resemble_each_other_give_a_wider_interval_as_groups():
    groups = np.repeat(np.arange(50), 20)
    values = RANDOM.normal(size=50)[groups]

    def width(units):
        low, high = np.percentile(resample(units, lambda picked: values[picked].mean()), [2.5, 97.5])
        return high - low

    # 20 equal rows a group are worth one: √20 is 4.5.
    assert width(groups) > 3.5 * width(np.arange(len(groups)))


def test_undefined_resamples_are_left_out_and_no_rows_give_none():
    found = resample(["a", "b"], lambda picked: float("nan") if len(set(picked)) < 2 else 1.0)
    assert 0 < len(found) < RESAMPLES
    assert len(resample([], lambda picked: 1.0)) == 0
