"""The live score of each version that answered or shadowed callers, from the prediction log and its feedback."""

from mlops_lab.contract import Contract
from mlops_lab.data.database import now
from mlops_lab.data.tables import LiveScore
from mlops_lab.errors import ModelError
from mlops_lab.lab import Lab
from mlops_lab.model.live import Live, LiveComparison, compare_live
from mlops_lab.model.registry import Version
from mlops_lab.steps.trial import trial_of

# The newest predictions, and the newest labelled predictions of a version, that are read.
WINDOW = 5000
# Versions of each use case that are scored, the newest first, beside champion and challenger.
MOST = 5


def live_scores(lab: Lab, champion: Version) -> list[LiveScore]:
    """The score of each arm that has ground truth, by version. A version that can't be loaded any more has none.

    The arm says what the version is now: champion, canary or shadow; `earlier` for another one that answered.
    """
    use_case = champion.use_case
    try:
        trial = trial_of(lab, use_case)
    except ModelError:
        trial = None
    tried = trial.version if trial else None
    found: list[LiveScore] = []
    logged = lab.predictions.labelled_versions(use_case)
    newest = sorted({version for version, _, _ in logged}, reverse=True)[:MOST]
    for number, run_id, shadow in logged:
        if number not in (*newest, champion.version, tried):
            continue
        if (live := _of_version(lab, use_case, number, run_id, shadow)) is None:
            continue
        arm = "champion" if number == champion.version else "canary" if number == tried else "earlier"
        found.append(
            LiveScore(
                use_case=use_case,
                version=number,
                arm="shadow" if shadow else arm,
                run_id=run_id,
                metric=live.contract.metric,
                labelled=len(live.rows),
                score=live.score,
                checked_at=now(),
            )
        )
    return found


def compare_arms(
    lab: Lab, new: Version, new_contract: Contract, old: Version, old_contract: Contract
) -> list[LiveComparison]:
    """Challenger (new) against champion (old), as a shadow and as a canary, where there is enough ground truth."""
    served = lab.predictions.labelled(old.use_case, old.version, old.run_id, WINDOW)
    shadow = lab.predictions.labelled(new.use_case, new.version, new.run_id, WINDOW, shadow=True)
    canary = lab.predictions.labelled(new.use_case, new.version, new.run_id, WINDOW)
    found: list[LiveComparison | None] = []
    both = {row.id for row in served} & {row.id for row in shadow}
    found.append(
        compare_live(
            "shadow",
            Live(new_contract, [row for row in shadow if row.id in both]),
            Live(old_contract, [row for row in served if row.id in both]),
        )
    )
    if canary:
        first, last = min(row.at for row in canary), max(row.at for row in canary)
        meanwhile = [row for row in served if first <= row.at <= last]
        found.append(compare_live("canary", Live(new_contract, canary), Live(old_contract, meanwhile)))
    return [comparison for comparison in found if comparison is not None]


def _of_version(lab: Lab, use_case: str, number: int, run_id: str, shadow: bool) -> Live | None:
    try:
        version = lab.registry.version(use_case, number)
        if version.run_id != run_id:
            return None  # of a version that `lab reset` removed
        contract = lab.predictor(version).contract
    except ModelError:
        return None
    return Live(contract, lab.predictions.labelled(use_case, number, run_id, WINDOW, shadow=shadow))
