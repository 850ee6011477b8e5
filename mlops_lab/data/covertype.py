"""UCI 31, forest cover types: from the publisher's archive to the columns of the course's Data API."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from typing import IO

COLUMNS = """
    Elevation Aspect Slope Horizontal_Distance_To_Hydrology Vertical_Distance_To_Hydrology
    Horizontal_Distance_To_Roadways Hillshade_9am Hillshade_Noon Hillshade_3pm Horizontal_Distance_To_Fire_Points
    Wilderness_Area Soil_Type Cover_Type
""".split()

# The publisher has one 0/1 column for each area and each soil type, in this order.
WILDERNESS_AREAS = ("Rawah", "Neota", "Commanche", "Cache")

# Code of the landscape unit of the soil types 1 to 40, from the publisher's covtype.info.
SOIL_TYPES = """
    2702 2703 2704 2705 2706 2717 3501 3502 4201 4703 4704 4744 4758 5101 5151 6101 6102 6731 7101 7102
    7103 7201 7202 7700 7701 7702 7709 7710 7745 7746 7755 7756 7757 7790 8703 8707 8708 8771 8772 8776
""".split()


def write_csv(data: IO[bytes], out: IO[bytes]) -> None:
    """Writes the CSV. data: the archive's `covtype.data.gz`, 55 columns without a header.

    Raises `ValueError` for a row of another form, and what gzip raises for damaged data.
    """
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    with gzip.open(data, "rt", encoding="ascii", newline="") as file:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_rows(csv.reader(file)))
    text.flush()
    text.detach()


def _rows(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    for row in rows:
        if len(row) != 55:
            raise ValueError(f"a row has {len(row)} values, expected 55")
        area = WILDERNESS_AREAS[row[10:14].index("1")]
        soil = SOIL_TYPES[row[14:54].index("1")]
        # The course counts the classes from 0, the publisher from 1.
        yield [*row[:10], area, f"C{soil}", str(int(row[54]) - 1)]
