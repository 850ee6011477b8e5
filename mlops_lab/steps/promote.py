"""Which version is champion: promotion by comparison, the rollout to the service, and the rollback."""

import math
from dataclasses import dataclass

from mlops_lab.data.tables import Batch, Promotion
from mlops_lab.errors import ModelError
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.model.registry import Version
from mlops_lab.model.tags import BatchTags, CandidateTags
from mlops_lab.rollout import RolloutError, check_replicas
from mlops_lab.steps.challenge import Person, Ruling, challenge, champion_by
from mlops_lab.steps.ingest import newest
from mlops_lab.steps.notices import tell, told
from mlops_lab.steps.reconcile import follow, not_chosen, reconcile
from mlops_lab.steps.stopwatch import timed
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Outcome:
    """The result of a batch's promotion.

    promoted: the challenger is the champion now, and the service is to serve it.
    version: the challenger; None when no candidate can be served.
    """

    promoted: bool
    version: int | None
    reason: str


@timed
def promote(lab: Lab, use_case: UseCase, batch_id: int) -> Outcome:
    """The batch's best candidate by validation challenges the champion, on the test rows that are stored now.

    When two promotions run at once, the one that records its decision first wins, and the other compares again with
    the new champion. A challenger is decided on once: a second call for the same batch sets right what a kill between
    the ledger and MLflow left, and changes nothing that was decided since.
    """
    batch = lab.ledger.batch(batch_id)
    numbers = lab.ledger.models_of_batch(use_case.name, batch_id)
    versions = [lab.registry.version(use_case.name, number) for number in numbers]
    # A batch can be trained twice (`lab train --force`): each candidate's newest version counts.
    candidates = list({version.facts.candidate: version for version in versions}.values())
    if not candidates:
        return _without_candidate(lab, use_case, batch)
    best = max(candidates, key=lambda version: _validation(use_case, version))

    until = lab.ledger.newest_read(use_case.name, batch.id)
    decision = _decide(lab, use_case, best, until, batch.run)
    for other in candidates:
        if other.version != best.version:
            lab.registry.tag(other, not_chosen(best))
    reconcile(lab, use_case)
    champion = lab.ledger.standing(use_case.name)
    promoted = champion is not None and champion.champion == best.version
    reason = decision.said
    if decision.outcome == "promoted" and not promoted:
        reason += "; another version became champion since, and stays it"
    tags = BatchTags(outcome=decision.outcome, outcome_reason=decision.said, version=best.version)
    lab.tracking.log(batch.run, tags=tags)
    lab.progress(f"{best.facts.candidate} (version {best.version}) {decision.outcome}: {reason}")
    return Outcome(promoted, best.version, reason)


def _without_candidate(lab: Lab, use_case: UseCase, batch: Batch) -> Outcome:
    """The outcome of a batch whose candidates were all refused: the champion stays, and the next batch follows."""
    runs = [CandidateTags.from_mlflow(tags) for _, tags in lab.tracking.children(use_case.name, batch.run)]
    reasons = list(dict.fromkeys(run.outcome_reason for run in runs if run.outcome_reason))
    reason = f"no candidate can be served: {'; '.join(reasons) or 'the runs in MLflow have the reasons'}"
    lab.tracking.log(batch.run, tags=BatchTags(outcome="refused", outcome_reason=reason))
    lab.ledger.note(batch.id, reason=reason)
    lab.progress(reason)
    return Outcome(False, None, reason)


def _validation(use_case: UseCase, version: Version) -> float:
    """The version's score on the validation rows, turned so that greater is better."""
    score = version.facts.validation
    return -math.inf if score is None else use_case.metric.sign * score


def promote_by_hand(lab: Lab, use_case: UseCase, version: int, force: Person | None = None) -> Outcome:
    """A registered version challenges the champion, also one that was decided on before, and is rolled out if it wins.

    The test rows are those of all batches, and the live scores of a trial are read, as in `promote`.
    force: who promotes it whatever the comparison says. The record has this person, the reason and the comparison's.
    Raises `ModelError` when the version is the champion, doesn't exist or can't be loaded; `RolloutError`.
    """
    lab.store.prepare_tables(use_case)
    challenger = lab.registry.version(use_case.name, version)
    if follow(lab, use_case.name) == version:
        raise ModelError(f"version {version} of {use_case.name} is the champion already")
    with told(lab, use_case.name):
        batch = newest(lab, use_case)
        ruling = Ruling(force.name, f"forced by {force}", whatever=True) if force else None
        decision = _decide(lab, use_case, challenger, batch.id, challenger.run_id, ruling, again=True)
        reconcile(lab, use_case)
        promoted = decision.outcome == "promoted"
        if promoted:
            roll_out(lab, use_case, None, version)
    return Outcome(promoted, version, decision.said)


def _decide(
    lab: Lab,
    use_case: UseCase,
    challenger: Version,
    until: int,
    run: str,
    ruling: Ruling | None = None,
    *,
    again: bool = False,
) -> Promotion:
    """The newest recorded decision on the challenger, or a new one by comparison; again: a new one in any case.

    until, run, ruling: as in `challenge`.
    """
    while True:
        history = lab.ledger.promotions(use_case.name)
        done = [row for row in history if row.challenger == challenger.version]
        if done and not again:
            return done[-1]
        decision = challenge(lab, use_case, challenger, until, run, history, ruling, again=again)
        if decision is not None:
            return decision
        lab.progress("another promotion came first; comparing again with the new champion")


@timed
def roll_out(lab: Lab, use_case: UseCase, batch_id: int | None, version: int) -> None:
    """Waits until every replica serves the version and predicts its example.

    When one doesn't, the previous champion is champion again, and `RolloutError` is raised. When another version became
    champion meanwhile, its own rollout counts.
    """
    try:
        predictor = lab.predictor(lab.registry.version(use_case.name, version))
        predictor.check_example()
        if lab.settings.inference_url:
            token = lab.settings.reload_token.get_secret_value() if lab.settings.reload_token else ""
            timeout = lab.settings.rollout_timeout
            replicas = check_replicas(
                lab.settings.inference_url,
                token,
                timeout,
                use_case.name,
                version,
                predictor,
                lab.settings.api_key,
            )
            lab.progress(f"version {version} is served by {counted(replicas, 'replica')}")
        else:
            lab.progress(f"version {version} predicts its example")
    except (RolloutError, ModelError) as error:
        if (reason := _step_back(lab, use_case, version, str(error))) is None:
            lab.progress(f"version {version} isn't the champion any more")
            return
        if batch_id is not None:
            tags = BatchTags(outcome="rolled back", outcome_reason=reason)
            lab.tracking.log(lab.ledger.batch(batch_id).run, tags=tags)
        raise RolloutError(reason) from error


def roll_back(lab: Lab, use_case: UseCase, version: int | None = None, person: Person | None = None) -> int:
    """Makes an earlier version champion again: the one named, else the previous one. Returns its number.

    person: who does it and why, for the record. Raises `ModelError` for the champion, or a version that is not there.
    """
    found = lab.ledger.standing(use_case.name)
    current = follow(lab, use_case.name)
    target = version if version is not None else found.previous if found else None
    if target is None:
        raise ModelError(f"{use_case.name} has no previous champion to go back to")
    if current == target:
        raise ModelError(f"version {target} of {use_case.name} is the champion already")
    lab.predictor(lab.registry.version(use_case.name, target)).check_example()
    reason = f"rolled back by {person or 'hand'}"
    if not _revert(lab, use_case, current, target, reason, person.name if person else None):
        raise ModelError(f"another version of {use_case.name} became champion meanwhile; run this again")
    tell(lab, use_case.name)
    return target


def _step_back(lab: Lab, use_case: UseCase, version: int, fault: str) -> str | None:
    """Makes the champion before `version` champion again. Returns the reason; None when another one came since."""
    found = lab.ledger.standing(use_case.name)
    previous = found.previous if found and found.champion == version else None
    reason = f"{fault}; the champion is again {f'version {previous}' if previous else 'none'}"
    return reason if _revert(lab, use_case, version, previous, reason) else None


def _revert(
    lab: Lab, use_case: UseCase, leaving: int | None, target: int | None, reason: str, who: str | None = None
) -> bool:
    """Records that `target` is champion instead of `leaving`, and sets the aliases by it. who: the person who says so.

    False: nothing was done, because `leaving` isn't the champion any more.
    """
    while True:
        history = lab.ledger.promotions(use_case.name)
        champion = champion_by(lab, use_case.name, history)
        if (champion.version if champion else None) != leaving:
            return False
        row = Promotion(
            use_case=use_case.name,
            sequence=len(history) + 1,
            challenger=leaving or target or 0,
            champion=target,
            outcome="rolled back",
            reason=reason,
            decided_by=who,
        )
        # Another decision can take the number first; then the champion is looked at again.
        if lab.ledger.put_promotion(row):
            reconcile(lab, use_case)
            return True
