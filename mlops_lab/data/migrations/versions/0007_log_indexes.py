"""One index for all reads of the prediction log and of the requests, where there were two."""

from alembic import op
from sqlalchemy import inspect

revision = "0007"
down_revision = "0006"

MOMENTS = {"predictions": "predicted_at", "requests": "received_at"}


def upgrade() -> None:
    """Makes the new index, then drops the old ones, unless a revision that was killed on MySQL did."""
    found = inspect(op.get_bind())
    for table, moment in MOMENTS.items():
        if not found.has_table(table):
            continue
        there = {index["name"] for index in found.get_indexes(table)}
        if (name := f"ix_{table}_use_case_{moment}") not in there:
            op.create_index(name, table, ["use_case", moment])
        for old in {f"ix_{table}_use_case", f"ix_{table}_{moment}"} & there:
            op.drop_index(old, table)
