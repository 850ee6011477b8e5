"""Alert notes: who acknowledged or concluded an alert, and why."""

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Nothing: the table is new, so `migrate` makes it as `tables.py` declares it."""
