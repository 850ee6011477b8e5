"""Live scores: the score of each version on its labelled predictions."""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Nothing: the table is new, so `migrate` makes it as `tables.py` declares it."""
