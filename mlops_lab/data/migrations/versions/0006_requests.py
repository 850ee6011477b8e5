"""Requests: each request to a model with its status and its time."""

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Nothing: the table is new, so `migrate` makes it as `tables.py` declares it."""
