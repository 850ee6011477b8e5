"""The estimated score of a monitoring check, and the interval of the test score that it is compared with."""

from alembic import op
from sqlalchemy import Boolean, Column, Float, inspect
from sqlalchemy.dialects.mysql import DOUBLE

revision = "0013"
down_revision = "0012"

SCORES = {
    "estimated_score": "of the compared predictions, without ground truth; null when it can't be told",
    "estimated_low": "95 % of the draws",
    "estimated_high": None,
    "test_low": "95 % bootstrap interval of test_score",
    "test_high": None,
}
WORSE = "the estimate's interval is beyond the worse end of the test interval"


def upgrade() -> None:
    """Adds the columns that a revision that was killed on MySQL didn't."""
    there = {column["name"] for column in inspect(op.get_bind()).get_columns("checks")}
    number = Float().with_variant(DOUBLE(), "mysql")
    columns = [Column(name, number, comment=about) for name, about in SCORES.items()]
    for column in (*columns, Column("estimated_worse", Boolean, comment=WORSE)):
        if column.name not in there:
            op.add_column("checks", column)
