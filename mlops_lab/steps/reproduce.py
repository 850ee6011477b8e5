"""Trains a registered version again from the stored rows, and says whether the same model comes out.

The same rows, code and libraries give the same graph and the same contract, byte for byte. Where they don't, the
result lists what differs: rows, code, libraries, and then what became of the model.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

from mlops_lab.contract import MODEL_FILE, Contract
from mlops_lab.data.database import now
from mlops_lab.errors import ModelError
from mlops_lab.history import Lineage
from mlops_lab.lab import Lab
from mlops_lab.model.lineage import origin
from mlops_lab.model.tags import CandidateTags
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Reproduced:
    """How a second training of a version ended.

    causes:  what differs in its origin: rows, code, libraries. changes: what differs in the model.
    digest:  sha256 of the graph that came out.
    seconds: of the second training.
    """

    use_case: str
    version: int
    digest: str
    causes: list[str]
    changes: list[str]
    seconds: float

    @property
    def same(self) -> bool:
        """Whether the same graph and the same contract came out."""
        return not self.changes

    def as_json(self) -> dict[str, Any]:
        """The fields with JSON types."""
        return asdict(self) | {"same": self.same, "seconds": round(self.seconds, 1)}


def reproduce(lab: Lab, use_case: UseCase, number: int) -> Reproduced:
    """Trains the version's candidate again, on the rows that it learned from; registers nothing.

    Raises `ModelError` when the version doesn't exist, can't be loaded or has no lineage, when its candidate is gone
    from the use case's file, and when the training itself refuses it.
    """
    # Imported here, because scikit-learn and LightGBM load slowly.
    from mlops_lab.model.search_runs import SearchRuns
    from mlops_lab.model.train import learn
    from mlops_lab.model.training_rows import training_rows
    from mlops_lab.model.tuner import Known
    from mlops_lab.steps.on_dask import rows_on_dask

    # After an update of the lab, it may be the first command that reads the ledger.
    lab.store.prepare_tables(use_case)
    version = lab.registry.version(use_case.name, number)
    folder = lab.model_folder(version)
    before = Contract.load(folder)
    if (lineage := before.lineage) is None:
        raise ModelError(f"version {number} of {use_case.name} has no lineage, so nobody knows its rows")
    candidate = next((one for one in use_case.candidates if one.name == lineage.candidate), None)
    if candidate is None:
        raise ModelError(f"{use_case.name} has no candidate {lineage.candidate!r} any more")
    # A batch that was held then may have been accepted since, and the rows may be split otherwise now.
    as_then = replace(use_case, split_day=lineage.split_day, history=lineage.history)
    with ExitStack() as held:
        if candidate.on_dask:
            spread = rows_on_dask(lab, as_then, lab.progress, only=lineage.batches)
            rows = held.enter_context(spread)
        else:
            rows = training_rows(lab.snapshots, as_then, only=lineage.batches)
        journal = None
        if candidate.tuning:
            # A search that was bounded by seconds doesn't come out again; its points are on record.
            tags = CandidateTags(candidate=candidate.name)
            runs = SearchRuns(lab.tracking, use_case, candidate, rows.origin.digest, lineage.run_id, tags)
            journal = Known(runs.points())
        trained = learn(use_case, candidate, rows.encoded, progress=lab.progress, journal=journal)
    found = origin(lineage.run_id, candidate.name, rows.origin, now(), trained.engine)
    graph = trained.model.SerializeToString()
    changes = _changed(before, trained.contract)
    if graph != (folder / MODEL_FILE).read_bytes():
        changes.insert(0, "the graph is another one")
    return Reproduced(
        use_case=use_case.name,
        version=number,
        digest=sha256(graph).hexdigest(),
        causes=list(_causes(lineage, found)),
        changes=changes,
        seconds=trained.seconds,
    )


def _causes(before: Lineage, after: Lineage) -> Iterator[str]:
    """What differs between two origins, in words."""
    if gone := sorted(set(before.batches) - set(after.batches)):
        yield f"rows: batches {', '.join(map(str, gone))} of the ledger have no clean rows any more"
    for split, count in before.rows.items():
        if (left := after.rows.get(split, 0)) != count:
            yield f"rows: {count:,} {split} rows then, {left:,} now"
    if before.digest is None:
        yield "rows, libraries: not recorded, because an earlier release trained the version"
    elif before.digest != after.digest:
        yield "rows: their values or their order differ"
    if before.commit != after.commit:
        yield f"code: {_short(before.commit)} then, {_short(after.commit)} now"
    if before.digest is not None:
        for name in sorted(before.libraries.keys() | after.libraries.keys()):
            then, current = before.libraries.get(name, "none"), after.libraries.get(name, "none")
            if then != current:
                yield f"{name}: {then} then, {current} now"


def _short(commit: str | None) -> str:
    return commit[:12] if commit else "an unknown commit"


def _changed(before: Contract, after: Contract) -> list[str]:
    """The contract's fields that differ; a score with both values."""
    names = [name for name in Contract.model_fields if name not in ("lineage", "metrics", "baseline")]
    found = [
        f"the contract's {name} differ" for name in names if getattr(before, name) != getattr(after, name)
    ]
    for name in ("metrics", "baseline"):
        found += _scores(name, getattr(before, name), getattr(after, name))
    return found


def _scores(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for split in sorted(before.keys() | after.keys()):
        then, current = before.get(split, {}), after.get(split, {})
        for metric in sorted(then.keys() | current.keys()):
            if then.get(metric) != current.get(metric):
                yield f"{name}: {split} {metric} {_number(then.get(metric))} then, {_number(current.get(metric))} now"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
