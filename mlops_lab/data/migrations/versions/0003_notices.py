"""Notices: which decisions people were told."""

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Nothing: the table is new, so `migrate` makes it as `tables.py` declares it."""
