"""The most memory that Python holds while it scores a short and a long file of each kind.

A process of its own: `tracemalloc` counts what any thread takes, and a test process has threads of other tests.
"""

import json
import sys
import tracemalloc
from pathlib import Path

from mlops_lab.model.predictor import Predictor
from mlops_lab.scoring import scorer, source
from tests.scoring.files import Run, frame, write

NAMES = ("rows.csv", "rows.csv.gz", "rows.parquet")
SHORT, LONG = 500, 3500


def main(model: Path, folder: Path) -> None:
    """Prints, for each kind of file, the bytes of the short and of the long one."""
    scorer.CHUNK, scorer.BLOCK, source.BATCH, source.BLOCK = 100, 30, 80, 1 << 14
    run = Run(Predictor.load(model))

    def peak(name: str, rows: int) -> int:
        file = write(frame(rows), folder / name)
        tracemalloc.start()
        run(file, folder / "out.parquet")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # What is imported and kept by the first run isn't counted.
    for name in NAMES:
        peak(name, 100)
    print(json.dumps({name: [peak(name, SHORT), peak(name, LONG)] for name in NAMES}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
