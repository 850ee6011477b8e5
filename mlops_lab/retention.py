"""What is kept for how long: finds what is past its time, and deletes it.

A rule is a function of the lab and the present moment (UTC) that gives what is past its time. What else shall be
deleted one day is one more rule in `RULES`.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from sqlalchemy import select

from mlops_lab.data.database import now
from mlops_lab.data.ledger import DECIDING
from mlops_lab.data.log_tables import Prediction, ShadowPrediction
from mlops_lab.data.old_log import OldLog, OldRows, logged_use_cases
from mlops_lab.data.states import CLOSED
from mlops_lab.data.tables import Batch
from mlops_lab.data.waiting import waiting
from mlops_lab.errors import ModelError
from mlops_lab.lab import Lab
from mlops_lab.model.old_runs import OldRun, OldRuns
from mlops_lab.model.trial import Trial

# Payloads or runs of a use case that one call deletes, the oldest first: a call's time has a bound.
MOST = 500
# The newest champions whose versions are kept, so that a rollback reaches them.
CHAMPIONS = 5


@dataclass(frozen=True)
class Expired:
    """Things of one kind that are past their time. delete: deletes them, and returns how many it deleted.

    size: bytes that are free afterwards; None for rows of a table, whose file stays as large.
    """

    what: str
    use_case: str
    found: OldRows
    days: int
    setting: str
    delete: Callable[[], int]
    size: int | None = None

    def __str__(self) -> str:
        since = f", the oldest of {self.found.oldest:%Y-%m-%d}" if self.found.oldest else ""
        size = "" if self.size is None else f", {self.size / 1e6:,.1f} MB"
        why = f"older than {self.days} days ({self.setting})"
        return f"{self.use_case}: {self.found.count:,} {self.what} {why}{since}{size}"


Rule = Callable[[Lab, datetime], Iterator[Expired]]


def clean(lab: Lab, dry_run: bool = False) -> list[Expired]:
    """Deletes what is past its time, and reports each kind; returns what was found.

    dry_run: deletes nothing. It may be killed at any moment: the next call deletes the rest.
    """
    lab.store.create_tables()
    found: list[Expired] = []
    # Rule by rule: while MLflow is away, what is only in the database is deleted all the same.
    for rule in RULES:
        for expired in [expired for expired in rule(lab, now()) if expired.found.count]:
            if not dry_run:
                expired.delete()
            lab.progress(f"{'would delete' if dry_run else 'deleted'} {expired}")
            found.append(expired)
    if not found:
        lab.progress("nothing is past its time")
    return found


def _old_log(lab: Lab, moment: datetime) -> Iterator[Expired]:
    """Predictions, requests and feedback after `predictions_days`.

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
        setting = lab.settings.variable("predictions_days")
        # Feedback first: a prediction is kept while its feedback is.
        yield Expired("values of feedback", use_case, old.feedback(), days, setting, old.delete_feedback)
        yield Expired("predictions", use_case, old.predictions(), days, setting, old.delete_predictions)
        yield Expired("shadow predictions", use_case, old.shadows(), days, setting, old.delete_shadows)
        yield Expired("requests", use_case, old.requests(), days, setting, old.delete_requests)


def _old_payloads(lab: Lab, moment: datetime) -> Iterator[Expired]:
    """Payloads after `payloads_days`, of batches that are done: `lab retry` and `lab accept` need it of others.

    An object that the ledger doesn't know is a batch that a killed run left, and stays for the next run.
    """
    days = lab.settings.payloads_days
    if not days:
        return
    before = moment - timedelta(days=days)
    for use_case in _use_cases(lab):
        old = [
            batch
            for batch in lab.ledger.batches(use_case)
            if batch.state == "done" and batch.landed_at < before and batch.payload_deleted_at is None
        ][:MOST]
        if old:
            found = OldRows(len(old), min(batch.landed_at for batch in old))
            size = sum(lab.artifacts.size(batch.payload) for batch in old)
            setting = lab.settings.variable("payloads_days")
            yield Expired("payloads", use_case, found, days, setting, partial(_forget, lab, old), size)


def _forget(lab: Lab, batches: list[Batch]) -> int:
    for batch in batches:
        # First the object: after a kill between the two, the next call finds the batch again.
        lab.artifacts.delete_object(batch.payload)
        lab.ledger.note(batch.id, payload_deleted_at=now())
    return len(batches)


def _old_runs(lab: Lab, moment: datetime) -> Iterator[Expired]:
    """Runs of candidates and of checks after `runs_days`, with artifacts and versions, but none that is needed."""
    days = lab.settings.runs_days
    if not days:
        return
    for use_case in lab.registry.use_cases():
        runs = OldRuns(lab.registry, use_case, moment - timedelta(days=days))
        needed = _Needed(lab, use_case)
        old = list(islice((run for run in runs if run not in needed), MOST))
        if not old:
            continue
        found = OldRows(len(old), min(run.started_at for run in old))
        size = sum(runs.size(run) for run in old)
        setting = lab.settings.variable("runs_days")

        delete = partial(_delete_runs, lab, use_case, runs, old)
        yield Expired("runs in MLflow", use_case, found, days, setting, delete, size)


def _delete_runs(lab: Lab, use_case: str, runs: OldRuns, old: list[OldRun]) -> int:
    for run in old:
        # Asked again for each run, because a rollback may have made its version champion meanwhile.
        if run not in (latest := _Needed(lab, use_case, predictions=False)):
            runs.delete(run, latest.versions(run), lab.cache)
    return len(old)


class _Needed:
    """Which runs of a use case must stay."""

    def __init__(self, lab: Lab, use_case: str, predictions: bool = True):
        """predictions: whether the runs that logged predictions point to are read, which takes a scan of the log."""
        self._versions: dict[str, list[int]] = {}
        # An aliased version, also one with an alias that a person set, and one that gets live traffic.
        registered = lab.registry.registered(use_case)
        numbers: set[int | None] = set(registered.aliases.values())
        with suppress(ModelError):
            numbers |= {Trial.read(registered.facts.trial).version}
        for version in lab.registry.versions(use_case):
            self._versions.setdefault(version.run_id, []).append(version.version)
        if standing := lab.ledger.standing(use_case):
            numbers |= {standing.champion, standing.previous}
        history = lab.ledger.promotions(use_case)
        if asked := waiting(history):
            numbers.add(asked.challenger)
        deciding = [row for row in history if row.outcome in DECIDING]
        champions = [row.challenger if row.outcome == "promoted" else row.champion for row in deciding]
        numbers |= set([n for n in dict.fromkeys(reversed(champions)) if n is not None][:CHAMPIONS])
        self._runs = {run for run, own in self._versions.items() if numbers & set(own)}
        # `promote` and `train` read the versions of a batch that isn't done, and of the newest one.
        batches = lab.ledger.batches(use_case)
        usable = [batch.id for batch in batches if batch.mlflow_run and batch.state not in CLOSED]
        self._batches = {batch.id for batch in batches if batch.state != "done"} | set(usable[-1:])
        checks = (lab.ledger.last_check(use_case), lab.ledger.last_check(use_case, asked=True))
        self._runs |= {check.run_id for check in checks if check and check.run_id}
        if predictions:
            with lab.store.raw.connect() as db:
                for table in (Prediction, ShadowPrediction):
                    logged = select(table.run_id).where(table.use_case == use_case).distinct()
                    self._runs |= set(db.scalars(logged))

    def __contains__(self, run: OldRun) -> bool:
        # The points of a search are kept with their candidate's run.
        return bool(self._runs & {run.run_id, run.parent}) or run.batch_id in self._batches

    def versions(self, run: OldRun) -> list[int]:
        """The numbers of the versions that belong to the run."""
        return self._versions.get(run.run_id, [])


def _use_cases(lab: Lab) -> list[str]:
    """The use cases that have a batch, by name."""
    with lab.store.raw.connect() as db:
        return sorted(db.scalars(select(Batch.use_case).distinct()))


RULES: tuple[Rule, ...] = (_old_log, _old_payloads, _old_runs)
