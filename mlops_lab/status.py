"""The state of one use case: the champion with its scores, the number of versions, the batches."""

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from mlops_lab.errors import ModelError
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.model.registry import CHAMPION, Version
from mlops_lab.model.tags import VersionTags


@dataclass(frozen=True)
class ChampionStatus:
    """The champion as its contract describes it.

    test, baseline: the use case's metric of the model and of the naive baseline on the test rows; None when there are
    no test rows, or it isn't defined on them. rows, batches: how many of each the champion was trained on. reason: why
    it was promoted.
    """

    version: int
    candidate: str
    metric: str
    test: float | None
    baseline: float | None
    rows: int
    batches: int
    run_id: str
    reason: str

    @property
    def scores(self) -> str:
        """The metric of model and baseline, in words."""
        if self.test is None or self.baseline is None:
            return f"{self.metric} unknown, no test rows yet"
        return f"{self.metric} {self.test:.4g} on test rows; naive baseline {self.baseline:.4g}"

    @property
    def origin(self) -> str:
        """The numbers of rows and batches of the champion's training, in words."""
        return f"trained on {self.rows:,} rows of {counted(self.batches, 'batch', 'batches')}"


def champion_status(lab: Lab, champion: Version) -> ChampionStatus:
    """Raises `ModelError` when the champion's files don't match its recorded digest."""
    contract = lab.predictor(champion).contract
    lineage = contract.lineage
    if lineage is None:
        raise ModelError(f"version {champion.version} of {champion.use_case} has no lineage")
    return ChampionStatus(
        version=champion.version,
        candidate=lineage.candidate,
        metric=contract.metric,
        test=contract.test_score,
        baseline=contract.baseline_score,
        rows=lineage.rows["train"],
        batches=len(lineage.batches),
        run_id=champion.run_id,
        reason=VersionTags.from_mlflow(champion.tags).reason,
    )


def status(lab: Lab, name: str) -> dict[str, Any]:
    """The state of one use case as JSON types; `champion` is None before the first promotion."""
    use_case = lab.use_case(name)
    lab.store.prepare_tables(use_case)
    champion = lab.registry.by_alias(name, CHAMPION)
    return {
        "use_case": name,
        "champion": asdict(champion_status(lab, champion)) if champion else None,
        "versions": len(lab.registry.versions(name)),
        "batches": [asdict(batch) for batch in lab.ledger.batches(name)],
    }


def show(entry: dict[str, Any], out: Console) -> None:
    """Prints an entry of `status`."""
    out.print(f"\n[bold]{entry['use_case']}[/bold]")
    if entry["champion"]:
        champion = ChampionStatus(**entry["champion"])
        out.print(f"champion: version {champion.version} ({champion.candidate}), {champion.scores}")
    else:
        out.print("no champion yet")
    if entry["batches"]:
        counts = ("received", "quarantined", "clean")
        table = Table(
            "batch", "state", "received", "quarantined", "new clean", "decision", "reason", box=None
        )
        for batch in entry["batches"]:
            table.add_row(
                str(batch["batch_number"]),
                batch["state"],
                *(f"{batch[name]:,}" if batch[name] is not None else "" for name in counts),
                batch["decision"] or "",
                batch["fault"] or batch["reason"] or "",
            )
        out.print(table)
