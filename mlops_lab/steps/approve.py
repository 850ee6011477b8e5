"""A person decides on a challenger that is neither surely better nor surely not: approves it, or rejects it.

The loop doesn't wait for it: the decision is recorded as waiting, and the champion stays. After the policy's time limit
its default is what happens; the start of the next batch or the next monitoring check applies it.
"""

from collections.abc import Callable, Sequence

from mlops_lab.data.database import now
from mlops_lab.data.ledger import standing
from mlops_lab.data.tables import Promotion
from mlops_lab.data.waiting import answer, answers, waiting
from mlops_lab.errors import ModelError, SignatureError
from mlops_lab.lab import Lab
from mlops_lab.rollout import RolloutError
from mlops_lab.steps.challenge import Person, Ruling, challenge, champion_by
from mlops_lab.steps.ingest import newest
from mlops_lab.steps.notices import told
from mlops_lab.steps.promote import Outcome, roll_out
from mlops_lab.steps.reconcile import reconcile
from mlops_lab.use_case import UseCase

# A decision that waits, all decisions before → its answer as it was recorded, None when another one came first.
Answer = Callable[[Promotion, Sequence[Promotion]], Promotion | None]


class NotWaitingError(ModelError):
    """No decision on the version waits for a person."""


def approve(lab: Lab, use_case: UseCase, version: int, person: Person) -> Outcome:
    """Promotes the waiting version and rolls it out, as `promote` does; the ledger keeps who decided, when and why.

    The comparison isn't made again, unless another version became champion since; then it may turn out against it.
    Raises `ModelError` when the version doesn't wait or can't be loaded, `RolloutError` when it was taken back.
    """
    apply_default(lab, use_case)
    with told(lab, use_case.name):
        return _end(lab, use_case, version, _promoted(lab, use_case, f"approved by {person}", person.name))


def reject(lab: Lab, use_case: UseCase, version: int, person: Person) -> Outcome:
    """Keeps the champion instead of the waiting version; raises `ModelError` when the version doesn't wait."""
    apply_default(lab, use_case)
    with told(lab, use_case.name):
        return _end(lab, use_case, version, _refused(lab, f"rejected by {person}", person.name))


def apply_default(lab: Lab, use_case: UseCase) -> None:
    """Ends a decision that waited too long, by the default in its record; a fault of the version is told."""
    lab.store.create_tables()
    asked = waiting(lab.ledger.promotions(use_case.name))
    if asked is None or asked.waits_until is None or asked.waits_until > now():
        return
    version = asked.challenger
    words = f"nobody decided within {(asked.waits_until - asked.decided_at).total_seconds() / 3600:g} h"
    with told(lab, use_case.name):
        try:
            if asked.default_outcome == "promoted":
                by_default = _promoted(lab, use_case, f"{words}, so it is promoted", None)
            else:
                by_default = _refused(lab, f"{words}, so the champion is kept", None)
            try:
                outcome = _end(lab, use_case, version, by_default)
            except (NotWaitingError, SignatureError):
                raise
            except ModelError as error:
                outcome = _end(lab, use_case, version, _refused(lab, f"{words}, but {error}", None))
            lab.progress(
                f"version {version} {'promoted' if outcome.promoted else 'refused'}: {outcome.reason}"
            )
        except RolloutError as error:
            lab.progress(f"version {version} rolled back: {error}")
        except NotWaitingError:
            return  # A person was quicker.


def _end(lab: Lab, use_case: UseCase, version: int, ended: Answer) -> Outcome:
    """Records the answer to the waiting decision and carries it out. Of two at once, the second raises the error."""
    while True:
        history = lab.ledger.promotions(use_case.name)
        asked = waiting(history)
        if asked is None or asked.challenger != version:
            # An answer that was killed before MLflow followed is carried out by the next one.
            reconcile(lab, use_case)
            raise NotWaitingError(_why_not(use_case.name, version, history, asked))
        if (decision := ended(asked, history)) is not None:
            break
    reconcile(lab, use_case)
    promoted = decision.outcome == "promoted"
    if promoted:
        roll_out(lab, use_case, _batch(lab, asked), version)
    return Outcome(promoted, version, decision.reason)


def _batch(lab: Lab, asked: Promotion) -> int | None:
    """The batch whose run has the decision that waited; None when a person asked for it."""
    run = (asked.evidence or "").split("/")[0]
    return next((batch.id for batch in lab.ledger.batches(asked.use_case) if batch.mlflow_run == run), None)


def _why_not(name: str, version: int, history: Sequence[Promotion], asked: Promotion | None) -> str:
    """Why nobody can decide on the version, in one line."""
    ended = [row for before, row in answers(history) if before.challenger == version]
    found = standing(history)
    if found and found.champion == version:
        why = "it is the champion"
    elif ended:
        why = f"{ended[-1].outcome} at {ended[-1].decided_at:%Y-%m-%d %H:%M} UTC, {ended[-1].reason}"
    else:
        why = "nobody was asked about it"
    others = f"; version {asked.challenger} waits" if asked else ""
    return f"version {version} of {name} doesn't wait for a decision: {why}{others}"


def _promoted(lab: Lab, use_case: UseCase, words: str, who: str | None) -> Answer:
    """Promoted by the comparison that was made; by a new one when that was with an earlier champion."""

    def ended(asked: Promotion, history: Sequence[Promotion]) -> Promotion | None:
        challenger = lab.registry.version(use_case.name, asked.challenger)
        champion = champion_by(lab, use_case.name, history)
        number = champion.version if champion else None
        if number == asked.champion:
            lab.predictor(challenger).check_example()
            return _recorded(lab, answer(asked, history, "promoted", words, who))
        since = f"version {number} is champion" if number else "there is no champion"
        lab.progress(f"{since} since, so it is compared again")
        ruling = Ruling(who, f"{words}; {since} since, so it was compared again")
        until = newest(lab, use_case).id
        return challenge(lab, use_case, challenger, until, challenger.run_id, history, ruling)

    return ended


def _refused(lab: Lab, words: str, who: str | None) -> Answer:
    return lambda asked, history: _recorded(lab, answer(asked, history, "refused", words, who))


def _recorded(lab: Lab, decision: Promotion) -> Promotion | None:
    return decision if lab.ledger.put_promotion(decision) else None
