"""Shadow predictions: what a challenger predicted beside the champion."""

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Nothing: the table is new, so `migrate` makes it as `tables.py` declares it."""
