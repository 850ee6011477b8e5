"""What the charts of the pages share: axes whose labels stand at their ticks, and a legend that fits a phone."""

from typing import Any

import altair as alt
from altair.utils import schemapi

# A chart is checked once, when Streamlit takes it, and not at each of its parts as well, which doubles its time.
schemapi.disable_debug_mode()
# The theme of Streamlit moves the first and the last label of an axis inwards, away from their ticks.
AXIS: dict[str, Any] = {"labelFlush": False}


def axis(**more: Any) -> alt.Axis:
    """An axis for amounts."""
    return alt.Axis(**AXIS | more)


def batch_axis() -> alt.Axis:
    """An axis for batches or versions in their order; where they are many, some labels are left out."""
    return alt.Axis(**AXIS, labelAngle=0, labelOverlap="greedy")


def legend(columns: int = 2) -> alt.Legend:
    return alt.Legend(title=None, orient="top", columns=columns, labelLimit=160)
