"""When retention deleted a batch's payload."""

from alembic import op
from sqlalchemy import Column, DateTime, inspect
from sqlalchemy.dialects.mysql import DATETIME

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Adds the column, unless a revision that was killed on MySQL did."""
    if "payload_deleted_at" in {c["name"] for c in inspect(op.get_bind()).get_columns("batches")}:
        return
    kind = DateTime().with_variant(DATETIME(fsp=3), "mysql")
    comment = "when retention deleted the payload; null while it is kept"
    op.add_column("batches", Column("payload_deleted_at", kind, comment=comment))
