"""What all tables of the lab's own in RawData have: the types of their columns.

Each class of such a table is the type of its rows and their constructor at once. All times are UTC without an offset.
"""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, DateTime, Float, Integer
from sqlalchemy.dialects.mysql import DATETIME, DOUBLE
from sqlalchemy.orm import DeclarativeBase, MappedAsDataclass

# SQLite counts up only a column that is declared INTEGER.
ID = BigInteger().with_variant(Integer, "sqlite")


class RawTable(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """A table in RawData."""

    # MySQL's FLOAT has seven digits, and its DATETIME whole seconds; `now` has milliseconds.
    type_annotation_map: ClassVar = {
        float: Float().with_variant(DOUBLE(), "mysql"),
        datetime: DateTime().with_variant(DATETIME(fsp=3), "mysql"),
    }
