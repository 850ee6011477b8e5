"""The plot of SHAP values: what its lines, places and colours say."""

import numpy as np
import pytest

from mlops_lab.model.beeswarm import beeswarm


@pytest.fixture
def pyplot():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def drawn(axes, height: int) -> np.ndarray:
    """(x, y) of the points of one line."""
    points = np.vstack([np.asarray(dots.get_offsets()) for dots in axes.collections])
    return points[np.abs(points[:, 1] - height) < 0.5]


def test_the_strongest_feature_is_on_top_and_the_others_are_summed(pyplot):
    values = np.array([[1.0, -4, 0.2, 0.1], [-1, 5, 0.2, 0.3]])
    amounts = np.array([[1.0, np.nan, 3, 4], [2, np.nan, 3, 5]])
    axes = beeswarm(pyplot, values, amounts, ["rooms", "city *", "floor", "age"], shown=3)
    assert [text.get_text() for text in axes.get_yticklabels()] == ["sum of 2 others", "rooms", "city *"]
    for height, expected in enumerate(([0.3, 0.5], [-1, 1], [-4, 5])):
        assert sorted(drawn(axes, height)[:, 0]) == pytest.approx(expected)
    # The plot's own axes, and the scale of the colours.
    assert len(axes.figure.axes) == 2


def test_points_at_one_place_lie_side_by_side_within_their_line(pyplot):
    values = np.array([[0.0], [0], [0], [1]])
    axes = beeswarm(pyplot, values, np.ones((4, 1)), ["rooms"], shown=5)
    same = drawn(axes, 0)[:3]
    assert len({tuple(point) for point in same}) == 3
    assert sorted(np.sign(same[:, 1])) == [-1, 0, 1]
    many = drawn(beeswarm(pyplot, np.zeros((500, 1)), np.ones((500, 1)), ["rooms"], shown=5), 0)
    assert np.abs(many[:, 1]).max() <= 0.4


def test_categories_alone_need_no_scale_of_colours(pyplot):
    axes = beeswarm(pyplot, np.ones((3, 2)), np.full((3, 2), np.nan), ["a *", "b *"], shown=15)
    assert len(axes.figure.axes) == 1
