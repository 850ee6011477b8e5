"""The tables of release 1.0, which were made without Alembic. Later revisions start from them."""

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Nothing: a database without a revision has these tables already."""
