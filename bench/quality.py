"""`make quality`: how good each candidate of each use case is; writes docs/quality.md.

Each candidate is trained five times, each time with another salt in the hash that splits the groups: 60 % of them
train, 20 % validate, 20 % test, as in the loop. By default it takes the synthetic data; with folders or CSV files as
arguments, those. Only the sections of what was measured are replaced.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd
from quality_page import CHOSEN, Fold, Section, write
from references import plain_logistic_regression, plain_ridge

from datos.catalog import SYNTHETIC
from datos.dataset import Dataset
from datos.files import CsvFile, Slicing
from datos.synthetic.market import Market
from mlops_lab.data.payload import RawBatch
from mlops_lab.data.prepare import prepare
from mlops_lab.data.split import SEALED, split_of, with_split
from mlops_lab.data.validate import validate
from mlops_lab.errors import ModelError
from mlops_lab.files import PUBLISHED, dataset_name
from mlops_lab.model.train import Trained, train
from mlops_lab.settings import REPOSITORY
from mlops_lab.use_case import UseCase, read_use_cases

SALTS = ("one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Source:
    """What a use case is measured on."""

    use_case: UseCase
    title: str
    data: Dataset


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "data", nargs="*", type=Path, help="folders or CSV files; left out: the synthetic data"
    )
    parser.add_argument("--use-case", help="only this one")
    parser.add_argument(
        "--scale", type=float, default=0.04, help="size of the synthetic data; 1 is the course's"
    )
    asked = parser.parse_args()
    if gone := [str(path) for path in asked.data if not path.exists()]:
        raise SystemExit(f"there is no {', '.join(gone)}")
    sources = list(_sources(asked.data, asked.scale))
    chosen = [source for source in sources if asked.use_case in (None, source.use_case.name)]
    if not chosen:
        raise SystemExit(f"nothing to measure: names of CSV files begin with {', '.join(PUBLISHED)}")
    for source in chosen:
        write(_measure(source))


def _sources(paths: list[Path], scale: float) -> Iterator[Source]:
    found, faults = read_use_cases(REPOSITORY / "use_cases")
    if faults:
        raise SystemExit(f"a use case can't be used: {faults}")
    of_dataset = {use_case.dataset: use_case for use_case in found.values()}
    if not paths:
        for name, kind in SYNTHETIC.items():
            yield Source(of_dataset[name], f"synthetic, scale {scale:g}", kind(scale=scale))
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            name = dataset_name(file.name)
            if name in of_dataset and ".csv" in file.suffixes:
                yield Source(of_dataset[name], file.name, CsvFile(file, Slicing(rows_per_batch=1_000_000)))


def _measure(source: Source) -> Section:
    use_case = source.use_case
    reference = plain_ridge() if use_case.task == "regression" else plain_logistic_regression()
    use_case = replace(use_case, candidates=[reference, *use_case.candidates])
    frame = _clean(use_case, source.data)
    folds = []
    for salt in SALTS:
        split = frame["group_hash"].map({g: split_of(_salted(salt, g)) for g in frame["group_hash"].unique()})
        # The rows that the loop seals are others: it has no salt.
        split = split.replace({SEALED: "test"}).astype("object")
        folds.append(_fold(source, use_case, frame.assign(split=split)))
    return Section(use_case, source.title, len(frame), frame["group_hash"].nunique(), folds)


def _clean(use_case: UseCase, data: Dataset) -> pd.DataFrame:
    """All distinct clean rows, by the functions of the loop's steps."""
    raw = [
        dict(zip(data.columns, row, strict=True))
        for number in range(1, len(data.sizes) + 1)
        for row in data.read(number)
    ]
    typed = validate(RawBatch(1, raw, list(range(len(raw))), [], []), use_case).typed
    return prepare(use_case, with_split(use_case, typed)).frame.drop_duplicates("row_hash")


def _salted(salt: str, group_hash: str) -> str:
    return blake2b(f"{salt}{group_hash}".encode(), digest_size=16).hexdigest()


def _fold(source: Source, use_case: UseCase, frame: pd.DataFrame) -> Fold:
    """The scores on test rows for one salt: candidate → metric → value."""
    fold = Fold()
    ranks: dict[str, float] = {}
    for candidate in use_case.candidates:
        try:
            trained = train(use_case, candidate, frame)
        except ModelError as error:
            print(f"{use_case.name}, {candidate.name}: refused, {error}", flush=True)
            continue
        fold.scores[candidate.name] = _scores(trained)
        fold.scores["naive"] = trained.contract.baseline["test"]
        value = trained.metrics["validation"][use_case.metric.name]
        # Only the use case's own candidates can be chosen.
        if candidate in source.use_case.candidates:
            ranks[candidate.name] = use_case.metric.sign * value
        print(f"{use_case.name}, {candidate.name}: {_scores(trained)}, {trained.seconds:.0f} s", flush=True)
    fold.chosen = max(ranks, key=lambda name: ranks[name])
    fold.scores[CHOSEN] = fold.scores[fold.chosen]
    if isinstance(source.data, Market):
        test = frame[frame["split"] == "test"]
        listed = {name: test[name].astype(object).where(test[name].notna(), "") for name in test.columns}
        fold.scores["best possible"] = {"rmse_log": source.data.best_rmse_log(listed)}
    return fold


def _scores(trained: Trained) -> dict[str, float]:
    found: dict[str, Any] = dict(trained.metrics["test"])
    if (interval := trained.contract.interval) and interval.coverage is not None:
        found["coverage"] = interval.coverage
    return found


if __name__ == "__main__":
    main()
