"""Who decided on a challenger, and until when a decision waits for a person."""

from alembic import op
from sqlalchemy import Column, DateTime, String, inspect
from sqlalchemy.dialects.mysql import DATETIME

revision = "0012"
down_revision = "0011"

COLUMNS = (
    Column("decided_by", String(80), comment="the person who decided; null when the policy did"),
    Column(
        "waits_until",
        DateTime().with_variant(DATETIME(fsp=3), "mysql"),
        comment="of a waiting one: then its default is what happens",
    ),
    Column("default_outcome", String(12), comment="of a waiting one: promoted or refused"),
)


def upgrade() -> None:
    """Adds the columns that a revision that was killed on MySQL didn't."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("promotions")}
    for column in COLUMNS:
        if column.name not in there:
            op.add_column("promotions", column)
