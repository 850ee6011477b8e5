"""How sure a promotion was, and where its per-row scores are."""

from alembic import op
from sqlalchemy import Column, Float, String, inspect
from sqlalchemy.dialects.mysql import DOUBLE

revision = "0011"
down_revision = "0010"

COLUMNS = (
    Column(
        "sureness",
        Float().with_variant(DOUBLE(), "mysql"),
        comment="share of the bootstrap resamples in which the challenger is better",
    ),
    Column(
        "evidence",
        String(100),
        comment="MLflow run and file of the per-row scores; null without a comparison",
    ),
)


def upgrade() -> None:
    """Adds the columns that a revision that was killed on MySQL didn't."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("promotions")}
    for column in COLUMNS:
        if column.name not in there:
            op.add_column("promotions", column)
