"""Borderline decisions that wait for a person, told from the history of decisions on a use case's challengers.

Nothing is changed in the ledger: an answer is one more decision, with its own sequence number. So of two answers at
once the second insert fails. A history is oldest first, as `Ledger.promotions` gives it.
"""

from collections.abc import Sequence
from dataclasses import replace

from mlops_lab.data.database import now
from mlops_lab.data.ledger import standing
from mlops_lab.data.tables import Promotion


def waiting(history: Sequence[Promotion]) -> Promotion | None:
    """The decision that a person is asked for; None without one.

    It is the newest one that waits, until a later decision on its challenger, or until that is champion by a rollback.
    """
    asked = next((row for row in reversed(history) if row.outcome == "waiting"), None)
    if asked is None or any(before.sequence == asked.sequence for before, _ in answers(history)):
        return None
    found = standing(history)
    return None if found and found.champion == asked.challenger else asked


def answers(history: Sequence[Promotion]) -> list[tuple[Promotion, Promotion]]:
    """Each decision that waited, with the one that ended it."""
    found: list[tuple[Promotion, Promotion]] = []
    asked: dict[int, Promotion] = {}
    for row in history:
        if before := asked.pop(row.challenger, None):
            found.append((before, row))
        if row.outcome == "waiting":
            asked[row.challenger] = row
    return found


def answer(
    asked: Promotion, history: Sequence[Promotion], outcome: str, reason: str, who: str | None = None
) -> Promotion:
    """The next decision, which ends the one that waits, on the same evidence. who: None when the policy decides."""
    return replace(
        asked,
        sequence=len(history) + 1,
        outcome=outcome,
        reason=f"{reason}; the comparison: {asked.reason}",
        decided_by=who,
        decided_at=now(),
        waits_until=None,
        default_outcome=None,
    )


def superseded(history: Sequence[Promotion], challenger: int, outcome: str) -> list[Promotion]:
    """What ends the decision that waits when a newer challenger has this outcome: one that is refused ends nothing."""
    asked = waiting(history)
    if asked is None or asked.challenger == challenger or outcome == "refused":
        return []
    took = "was promoted" if outcome == "promoted" else "waits in its place"
    return [answer(asked, history, "refused", f"superseded by version {challenger}, which {took}")]
