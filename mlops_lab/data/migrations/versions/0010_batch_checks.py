"""A batch's named checks, and who let a held batch go on."""

from alembic import op
from sqlalchemy import JSON, Column, DateTime, String, Text, inspect
from sqlalchemy.dialects.mysql import DATETIME

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Adds the columns that aren't there: MySQL keeps what a killed revision did."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("batches")}
    kind = DateTime().with_variant(DATETIME(fsp=3), "mysql")
    for column in (
        Column("checks", JSON, comment="its named checks: name, outcome, text, figures"),
        Column("accepted_by", String(80), comment="who let a held batch go on"),
        Column("accepted_reason", Text),
        Column("accepted_at", kind),
    ):
        if column.name not in there:
            op.add_column("batches", column)
