"""What is kept for how long: finds what is past its time, and deletes it.

A rule is a function of the lab and the present moment (UTC) that gives what is past its time. What else shall be
deleted one day (payloads, raw rows, MLflow's runs, the spool) is one more rule in `RULES`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from mlops_lab.data.database import now
from mlops_lab.data.old_log import OldLog, OldRows, logged_use_cases
from mlops_lab.lab import Lab


@dataclass(frozen=True)
class Expired:
    """Things of one kind that are past their time. delete: deletes them, and returns how many it deleted."""

    what: str
    use_case: str
    found: OldRows
    why: str
    delete: Callable[[], int]

    def __str__(self) -> str:
        since = f", the oldest of {self.found.oldest:%Y-%m-%d}" if self.found.oldest else ""
        return f"{self.use_case}: {self.found.count:,} {self.what} {self.why}{since}"


Rule = Callable[[Lab, datetime], Iterator[Expired]]


def clean(lab: Lab, dry_run: bool = False) -> list[Expired]:
    """Deletes what is past its time, and reports each kind; returns what was found.

    dry_run: deletes nothing. It may be killed at any moment: the next call deletes the rest.
    """
    lab.store.create_tables()
    found = [expired for rule in RULES for expired in rule(lab, now()) if expired.found.count]
    for expired in found:
        if not dry_run:
            expired.delete()
        lab.progress(f"{'would delete' if dry_run else 'deleted'} {expired}")
    if not found:
        lab.progress("nothing is past its time")
    return found


def _old_log(lab: Lab, moment: datetime) -> Iterator[Expired]:
    """Predictions and feedback after `predictions_days`.

    Feedback that no monitoring check has seen is kept as long again, and each prediction as long as its feedback.
    """
    days = lab.settings.predictions_days
    if not days:
        return
    age = timedelta(days=days)
    for use_case in logged_use_cases(lab.store.raw):
        check = lab.ledger.last_check(use_case)
        seen = check.checked_at if check else datetime.min
        before = moment - age
        feedback_before = min(before, max(seen, before - age))
        old = OldLog(lab.store.raw, use_case, before, feedback_before)
        why = f"older than {days} days (LAB_PREDICTIONS_DAYS)"
        # Feedback first: a prediction is kept while its feedback is.
        yield Expired("values of feedback", use_case, old.feedback(), why, old.delete_feedback)
        yield Expired("predictions", use_case, old.predictions(), why, old.delete_predictions)


RULES: tuple[Rule, ...] = (_old_log,)
