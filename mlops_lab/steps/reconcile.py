"""Sets right what a killed run left in MLflow: aliases, open runs, versions without an outcome.

The ledger decides and MLflow follows. A run can be killed between the two, so this is done again at each start of a
batch, at each promotion and at each monitoring check. Where both agree, nothing is written.
A new champion is scored on the sealed rows here, too, whatever made it champion.
"""

from collections.abc import Sequence

from mlops_lab.data.ledger import holdout_readers, terms
from mlops_lab.data.states import UNFINISHED
from mlops_lab.data.tables import Batch, Promotion
from mlops_lab.data.waiting import answers
from mlops_lab.errors import ModelError
from mlops_lab.lab import Lab
from mlops_lab.model.notes import of_model
from mlops_lab.model.registry import CHAMPION, PREVIOUS, Version
from mlops_lab.model.tags import BatchTags, CandidateTags, VersionTags
from mlops_lab.model.trial import Trial
from mlops_lab.steps.sealed import score_once
from mlops_lab.use_case import UseCase

NEVER_RECORDED = "the lab has no record of it, because its registration was interrupted; it is never served"
INTERRUPTED = "its run was interrupted before the promotion"


def reconcile(lab: Lab, use_case: UseCase, idle: bool = False) -> None:
    """Makes MLflow agree with the ledger.

    idle: nothing else works on the use case now, so what an unfinished batch left open is left over, too.
    """
    champion = follow(lab, use_case.name)
    batches = {batch.id: batch for batch in lab.ledger.batches(use_case.name)}
    _end_runs(lab, use_case.name, batches, idle)
    versions = {version.version: version for version in lab.registry.versions(use_case.name)}
    _set_outcomes(lab, use_case.name, versions, batches, idle)
    if champion in versions:
        lab.registry.describe(use_case.name, of_model(use_case, champion, versions[champion].facts))
        score_once(lab, use_case, versions[champion])


def follow(lab: Lab, use_case: str) -> int | None:
    """Sets the aliases `champion` and `previous` by the ledger. Returns the champion's version.

    A trial against an earlier champion is over, and its tag is removed.

    Without a promotion or rollback in the ledger, the aliases stay as they are. The ledger is read again after each
    change, because another process may have recorded a decision meanwhile.
    """
    while (found := lab.ledger.standing(use_case)) is not None:
        wanted = {CHAMPION: found.champion, PREVIOUS: found.previous}
        registered = lab.registry.registered(use_case)
        aliases = registered.aliases
        if _is_over(registered.facts.trial, found.champion):
            lab.registry.set_trial(use_case, None)
        wrong = {alias: number for alias, number in wanted.items() if aliases.get(alias) != number}
        # A version that somebody deleted in MLflow can't get its alias back.
        possible = {n for n in wrong.values() if n is not None and lab.registry.has(use_case, n)}
        wrong = {alias: n for alias, n in wrong.items() if n in possible or (n is None and alias in aliases)}
        if not wrong:
            return found.champion
        for alias, number in wrong.items():
            if number is None:
                lab.registry.delete_alias(use_case, alias)
            else:
                lab.registry.set_alias(use_case, alias, number)
    return lab.registry.aliases(use_case).get(CHAMPION)


def _is_over(trial: str, champion: int | None) -> bool:
    """Whether the trial in a tag was against another champion. One that can't be read stays for its author."""
    try:
        return bool(trial) and Trial.read(trial).champion != champion
    except ModelError:
        return False


def not_chosen(best: Version) -> VersionTags:
    """The outcome of a batch's candidates that didn't become challenger."""
    return VersionTags(outcome="not chosen", reason=f"{best.facts.candidate} was better on validation")


def _end_runs(lab: Lab, use_case: str, batches: dict[int, Batch], idle: bool) -> None:
    """Ends the open runs of batches that nobody works on."""
    for run, tags in lab.tracking.open_runs(use_case):
        number = CandidateTags.from_mlflow(tags).batch_id
        if number is None:
            continue  # an experiment or a check
        batch = batches.get(number)
        at_work = batch is not None and batch.state in UNFINISHED
        if batch is not None and batch.mlflow_run == run:
            if not at_work:
                lab.tracking.end(run, failed=batch.state == "broken")
        elif idle or not at_work:
            lab.tracking.kill(run)


def _set_outcomes(
    lab: Lab, use_case: str, versions: dict[int, Version], batches: dict[int, Batch], idle: bool
) -> None:
    """Sets the outcome of the versions whose run was killed before it could."""
    history = lab.ledger.promotions(use_case)
    decided = {row.challenger: row for row in history}  # of several decisions on a version the newest
    readers = holdout_readers(history)
    since = str(readers[0].decided_at.date()) if readers else ""
    _answer_batches(lab, use_case, history, decided)
    recorded = lab.ledger.models(use_case)
    for number, version in versions.items():
        outcome = version.facts.outcome
        if row := decided.get(number):
            uses = sum(reader.sequence <= row.sequence for reader in readers)
            # A version that an earlier release decided on has no such number, and needs none.
            if outcome != row.outcome or version.facts.holdout_uses not in (None, uses):
                tags = VersionTags(
                    outcome=row.outcome, reason=row.said, holdout_uses=uses, holdout_since=since
                )
                lab.registry.tag(version, tags)
            told = _comparison(history, number)
            if any(version.tags.get(key) != text for key, text in told.to_mlflow().items()):
                lab.registry.tag(version, told)
            continue
        batch = batches.get(version.facts.batch_id or 0)
        if outcome or batch is None:
            continue
        at_work = batch.state in UNFINISHED
        if number not in recorded:
            if idle or not at_work:
                lab.registry.tag(version, VersionTags(outcome="not chosen", reason=NEVER_RECORDED))
        elif not at_work:
            others = [other for other, model in recorded.items() if model.batch_id == batch.id]
            best = next((row.challenger for row in reversed(history) if row.challenger in others), None)
            known = not_chosen(versions[best]) if best in versions else None
            lab.registry.tag(version, known or VersionTags(outcome="not chosen", reason=INTERRUPTED))


def _comparison(history: Sequence[Promotion], version: int) -> VersionTags:
    """The newest comparison of the version with a champion, and when it became champion, by these decisions."""
    mine = [row for row in history if row.challenger == version]
    row = next((row for row in reversed(mine) if row.challenger_score is not None), mine[-1])
    return VersionTags(
        against=row.champion,
        challenger_score=row.challenger_score,
        champion_score=row.champion_score,
        interval_low=row.interval_low,
        interval_high=row.interval_high,
        compared_rows=row.holdout_rows,
        # As precise as the ledger: a promotion and its rollback may be in one second.
        decided_at=mine[-1].decided_at.isoformat(timespec="milliseconds"),
        champion_since=",".join(at.isoformat(timespec="milliseconds") for at in terms(history, version)),
    )


def _answer_batches(
    lab: Lab, use_case: str, history: Sequence[Promotion], decided: dict[int, Promotion]
) -> None:
    """Sets the outcome of the batches whose challenger waited for a person, by the answer."""
    asked = {(row.evidence or "").split("/")[0]: row.challenger for row, _ in answers(history)}
    for run, _ in lab.tracking.runs_waiting(use_case) if asked else ():
        row = decided[asked[run]] if run in asked else None
        if row and row.outcome != "waiting":
            lab.tracking.log(run, tags=BatchTags(outcome=row.outcome, outcome_reason=row.reason))
