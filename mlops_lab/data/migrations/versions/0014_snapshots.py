"""Where a batch's clean rows are in the bucket, and the digest of that object."""

from alembic import op
from sqlalchemy import Column, String, inspect

revision = "0014"
down_revision = "0013"

COLUMNS = {
    "snapshot": (255, "path in the bucket of these rows as Parquet; null until it is made"),
    "snapshot_digest": (64, "sha256 of the snapshot's bytes"),
}


def upgrade() -> None:
    """Adds the columns that a revision that was killed on MySQL didn't. A snapshot is made when it is first read."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("batches")}
    for name, (length, comment) in COLUMNS.items():
        if name not in there:
            op.add_column("batches", Column(name, String(length), comment=comment))
