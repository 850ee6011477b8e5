"""The ledger's tables in RawData: batches, registered models, promotions, checks, live scores, notices.

A unique key stands for each decision that must be made only once: of two processes that insert it, one insert fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import sessionmaker

from mlops_lab.data.database import StoreError, now
from mlops_lab.data.states import UNFINISHED
from mlops_lab.data.tables import Batch, Check, LiveScore, Model, Notice, Promotion

# The outcomes that change who is champion.
DECIDING = ("promoted", "rolled back")


@dataclass(frozen=True)
class Standing:
    """Who is champion by the ledger. champion: None after a rollback to nothing. previous: the champion before."""

    champion: int | None
    previous: int | None


def standing(history: Sequence[Promotion]) -> Standing | None:
    """The standing after these decisions, oldest first; None when nothing was promoted or rolled back yet.

    The newest promotion or rollback decides. MLflow's aliases only follow (`mlops_lab/steps/reconcile.py`).
    """
    deciding = [row for row in history if row.outcome in DECIDING]
    if not deciding:
        return None
    last = deciding[-1]
    promoted = [row for row in deciding if row.outcome == "promoted"]
    return Standing(
        champion=last.challenger if last.outcome == "promoted" else last.champion,
        previous=promoted[-1].champion if promoted else None,
    )


def terms(history: Sequence[Promotion], version: int) -> list[datetime]:
    """When the version became champion, each time: by a promotion, or because another one was rolled back."""
    return [
        row.decided_at
        for row in history
        if (row.outcome == "promoted" and row.challenger == version)
        or (row.outcome == "rolled back" and row.champion == version)
    ]


def holdout_readers(history: Sequence[Promotion]) -> list[Promotion]:
    """Those of the decisions that scored a model on the test rows: each one uses them up a little.

    The answer to a decision that waited has that one's evidence, and reads no row.
    """
    found: dict[str | int, Promotion] = {}
    for row in history:
        if row.holdout_rows:
            found.setdefault(row.evidence or row.sequence, row)
    return list(found.values())


class Ledger:
    """Reads and writes these tables. The returned records are detached: they need no session or connection."""

    def __init__(self, raw: Engine):
        self._raw = raw
        self._session = sessionmaker(raw, expire_on_commit=False)

    # Batches

    def land(
        self, use_case: str, digest: str, number: int | None, payload: str, source: str
    ) -> tuple[Batch, bool]:
        """Adds a batch for a payload, unless one with its digest exists. Returns the batch, and whether it is new.

        The gap is counted from the greatest number so far: batches may arrive in another order.
        """
        greatest = select(func.max(Batch.batch_number)).where(Batch.use_case == use_case)
        try:
            with self._session.begin() as db:
                before = max(0, db.scalar(greatest) or 0)
                entry = Batch(
                    use_case=use_case,
                    batch_number=number,
                    digest=digest,
                    payload=payload,
                    source=source,
                    gap=max(0, (number or 0) - before - 1),
                )
                db.add(entry)
            return entry, True
        except IntegrityError:
            # In a new transaction: the failed one may read the table as it was before the other process wrote.
            known = select(Batch).where(Batch.use_case == use_case, Batch.digest == digest)
            with self._session() as db:
                return db.scalars(known).one(), False

    def batch(self, batch_id: int) -> Batch:
        """Raises `StoreError` when there is no such batch."""
        with self._session() as db:
            found = db.get(Batch, batch_id)
        if found is None:
            raise StoreError(
                f"the batch ledger has no batch of the id {batch_id}; `lab status --json` has the ids"
            )
        return found

    def batches(self, use_case: str) -> list[Batch]:
        """Every batch of a use case, oldest first."""
        with self._session() as db:
            return list(db.scalars(select(Batch).where(Batch.use_case == use_case).order_by(Batch.id)))

    def unfinished(self, use_case: str) -> Batch | None:
        """The oldest batch whose run didn't finish, or None."""
        return next((b for b in self.batches(use_case) if b.state in UNFINISHED), None)

    def newest_read(self, use_case: str, batch_id: int) -> int:
        """The newest batch whose rows a training of this batch reads: itself, or a later one that is done.

        There is a later one when a person opened this batch again after others had followed.
        """
        done = select(func.max(Batch.id)).where(Batch.use_case == use_case, Batch.state == "done")
        with self._session() as db:
            return max(batch_id, db.scalar(done) or 0)

    def failed(self, batch_id: int, fault: str, most: int) -> Batch:
        """Counts a failed attempt on an unfinished batch and keeps the fault; after `most` attempts it is broken.

        Another fault before the batch is taken up again (`take_up`) belongs to the same attempt.
        """
        with self._session.begin() as db:
            batch = db.get(Batch, batch_id, with_for_update=True)
            if batch is None:
                raise StoreError(f"the batch ledger has no batch {batch_id}")
            if batch.state in UNFINISHED:
                batch.attempts += batch.fault is None
                batch.fault = fault
                if batch.attempts >= most:
                    batch.state = "broken"
        return batch

    def take_up(self, batch_id: int) -> None:
        """A new attempt on an unfinished batch begins."""
        self.note(batch_id, fault=None)

    def note(self, batch_id: int, **values: Any) -> None:
        """Sets columns of a batch to the values."""
        with self._raw.begin() as db:
            db.execute(update(Batch).where(Batch.id == batch_id).values(**values))

    # Models and promotions

    def put_model(self, model: Model) -> None:
        with self._session.begin() as db:
            db.add(model)

    def model(self, use_case: str, version: int) -> Model | None:
        """The record of a version, written at its registration, or None."""
        with self._session() as db:
            return db.get(Model, (use_case, version))

    def models(self, use_case: str) -> dict[int, Model]:
        """The record of every version, by its number."""
        with self._session() as db:
            found = db.scalars(select(Model).where(Model.use_case == use_case).order_by(Model.version))
            return {model.version: model for model in found}

    def models_of_batch(self, use_case: str, batch_id: int) -> list[int]:
        """The versions that were trained for a batch, oldest first."""
        found = select(Model.version).where(Model.use_case == use_case, Model.batch_id == batch_id)
        with self._session() as db:
            return list(db.scalars(found.order_by(Model.version)))

    def promotions(self, use_case: str) -> list[Promotion]:
        """Every promotion, refusal, rollback and question to a person, oldest first."""
        found = select(Promotion).where(Promotion.use_case == use_case)
        with self._session() as db:
            return list(db.scalars(found.order_by(Promotion.sequence)))

    def standing(self, use_case: str) -> Standing | None:
        """Champion and previous champion by the newest decision; None before the first promotion."""
        return standing(self.promotions(use_case))

    def put_promotion(self, *promotions: Promotion) -> bool:
        """Records decisions under their sequence numbers, all or none. False: another decision has such a number."""
        try:
            with self._session.begin() as db:
                db.add_all(promotions)
        except IntegrityError:
            return False
        return True

    # Monitoring

    def put_check(self, check: Check) -> None:
        with self._session.begin() as db:
            db.add(check)

    def last_check(self, use_case: str, *, asked: bool = False) -> Check | None:
        """The newest check, or None. asked: the newest one that requested a training."""
        found = select(Check).where(Check.use_case == use_case)
        if asked:
            found = found.where(Check.retrain)
        with self._session() as db:
            return db.scalar(found.order_by(Check.id.desc()).limit(1))

    def put_live_scores(self, use_case: str, scores: Sequence[LiveScore]) -> None:
        """Replaces the use case's live scores."""
        with self._session.begin() as db:
            db.execute(delete(LiveScore).where(LiveScore.use_case == use_case))
            db.add_all(scores)

    def live_scores(self, use_case: str) -> list[LiveScore]:
        """Of the newest check, by version and arm."""
        found = select(LiveScore).where(LiveScore.use_case == use_case)
        with self._session() as db:
            return list(db.scalars(found.order_by(LiveScore.version, LiveScore.arm)))

    # Notices

    def claim(self, notice: Notice, expiry: timedelta) -> bool:
        """Makes this process the one that sends a notice. False: it was told, or another process began to send it.

        expiry: a claim of this age without success may be taken over.
        """
        try:
            with self._session.begin() as db:
                db.add(notice)
            return True
        except IntegrityError:
            lost = Notice.told_at.is_(None) & (Notice.claimed_at < now() - expiry)
            with self._raw.begin() as db:
                taken = db.execute(update(Notice).where(_same(notice), lost).values(claimed_at=now()))
            return taken.rowcount == 1

    def told(self, notices: Sequence[Notice]) -> None:
        """Marks notices as told."""
        with self._raw.begin() as db:
            for notice in notices:
                db.execute(update(Notice).where(_same(notice)).values(told_at=now()))

    def forget(self, notice: Notice) -> None:
        """The same news would be told again."""
        with self._raw.begin() as db:
            db.execute(delete(Notice).where(_same(notice)))


def _same(notice: Notice) -> ColumnElement[bool]:
    return and_(Notice.use_case == notice.use_case, Notice.kind == notice.kind, Notice.key == notice.key)
