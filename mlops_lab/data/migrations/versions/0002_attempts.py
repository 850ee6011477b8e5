"""Failed attempts of a batch; on MySQL figures with all digits and times with milliseconds."""

from alembic import op
from sqlalchemy import Column, Integer, inspect
from sqlalchemy.dialects.mysql import DATETIME, DOUBLE, FLOAT

revision = "0002"
down_revision = "0001"

TABLES = ("batches", "models", "promotions", "predictions", "feedback", "checks")


def upgrade() -> None:
    """MySQL keeps what a killed revision did, so each change is made only where it isn't there."""
    there = inspect(op.get_bind())
    if "attempts" not in {column["name"] for column in there.get_columns("batches")}:
        comment = "runs of the loop that this batch made fail"
        op.add_column(
            "batches", Column("attempts", Integer, nullable=False, server_default="0", comment=comment)
        )
    if op.get_context().dialect.name != "mysql":
        return
    for table in TABLES:
        for column in there.get_columns(table) if there.has_table(table) else ():
            if (wanted := _wanted(column["type"])) is not None:
                op.alter_column(
                    table,
                    column["name"],
                    type_=wanted,
                    existing_type=column["type"],
                    existing_nullable=column["nullable"],
                    existing_comment=column["comment"],
                )


def _wanted(kind: object) -> DOUBLE | DATETIME | None:
    if isinstance(kind, FLOAT):
        return DOUBLE()
    return DATETIME(fsp=3) if isinstance(kind, DATETIME) and not kind.fsp else None
