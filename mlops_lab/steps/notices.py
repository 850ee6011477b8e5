"""Tells people by `LAB_NOTIFY_URL` what the loop decided: each decision once, from the ledger.

Told are promotions, rollbacks, decisions that wait for a person and their end, broken and held batches, and trainings
that monitoring requested. A refused challenger isn't: it is the usual end of a batch, and the pages show it.

The table `notices` has a row for each message under way or told. A process first claims its decisions there, so no
other one sends them; then it sends; then it marks them as told. When the message fails or the process is killed in
between, the claim ends after `CLAIM`, and the next call tells them. So a message arrives twice only after a kill
between the sending and the mark. A decision older than `FRESH` is never told: a person who sets the URL today doesn't
get last year's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from threading import Thread

from mlops_lab.data.database import now
from mlops_lab.data.states import CLOSED
from mlops_lab.data.tables import Notice
from mlops_lab.data.waiting import answers
from mlops_lab.errors import first_line
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.notify import Decision, NotifyError, send

CLAIM, FRESH = timedelta(minutes=10), timedelta(days=1)
# Seconds that the loop waits for the receiver. A slower one gets the message all the same, while the process lives.
PATIENCE = 5.0
# Characters of a decision's reason in a message.
REASON = 500


def tell(lab: Lab, use_case: str) -> None:
    """Sends the use case's untold decisions in one message. No fault is raised: the loop goes on, with one line."""
    if lab.settings.notify_url is None:
        return
    url = lab.settings.notify_url.get_secret_value()
    try:
        claimed = [
            (notice, decision)
            for notice, decision in _fresh(lab, use_case)
            if lab.ledger.claim(notice, CLAIM)
        ]
        if claimed:
            _send(lab, url, use_case, claimed)
    # Whatever it is, a message must not stop the loop. MLflow isn't asked here, so this is the database or a bug.
    except Exception as error:
        lab.progress(f"warning: nobody was notified: {first_line(error, with_class=True)}")


@contextmanager
def told(lab: Lab, use_case: str) -> Iterator[None]:
    """Around steps of a batch: tells at their end, also when they raise an error. A stop isn't delayed."""
    try:
        yield
    except Exception:
        tell(lab, use_case)
        raise
    tell(lab, use_case)


def _send(lab: Lab, url: str, use_case: str, claimed: list[tuple[Notice, Decision]]) -> None:
    decisions = [decision for _, decision in claimed]
    news = decisions[0].what if len(decisions) == 1 else counted(len(decisions), "decision")
    text = "\n".join(str(decision) for decision in decisions)
    said: list[str] = []

    def run() -> None:
        try:
            place = send(url, f"{use_case}: {news}", text, decisions)
            lab.ledger.told([notice for notice, _ in claimed])
            said.append(f"notified: {news}, by {place}")
        except NotifyError as error:
            said.append(f"warning: nobody was notified: {error}")
        except Exception as error:
            said.append(f"warning: a notification wasn't recorded: {first_line(error, with_class=True)}")

    sender = Thread(target=run, daemon=True, name="notify")
    sender.start()
    sender.join(PATIENCE)
    late = f"warning: the receiver of LAB_NOTIFY_URL needs more than {PATIENCE:.0f} s; the loop goes on"
    lab.progress(said[0] if said else late)


def _fresh(lab: Lab, use_case: str) -> Iterator[tuple[Notice, Decision]]:
    """Each decision that people are told, with its key in `notices`."""
    since = now() - FRESH
    history = lab.ledger.promotions(use_case)
    ended = {answer.sequence for _, answer in answers(history)}
    for row in history:
        if row.outcome == "promoted":
            what = f"version {row.challenger} promoted"
        elif row.outcome == "waiting":
            what = f"version {row.challenger} waits for a decision"
        elif row.outcome == "refused" and row.sequence in ended:
            what = f"version {row.challenger} isn't promoted"
        elif row.outcome == "rolled back":
            what = f"rolled back to {f'version {row.champion}' if row.champion else 'no champion'}"
        else:
            continue
        if row.decided_at >= since:
            yield _entry(use_case, "promotion", row.sequence, what, row.said, row.decided_at)
    for batch in lab.ledger.batches(use_case):
        if batch.state in CLOSED and batch.landed_at >= since:
            number = batch.batch_number if batch.batch_number is not None else f"with id {batch.id}"
            what = f"batch {number} {batch.state}"
            yield _entry(use_case, "batch", batch.id, what, batch.fault or "", batch.landed_at)
    check = lab.ledger.last_check(use_case, asked=True)
    if check and check.checked_at >= since:
        what = "monitoring requested a training"
        yield _entry(use_case, "check", check.id, what, check.reason, check.checked_at)


def _entry(
    use_case: str, kind: str, key: int, what: str, reason: str, at: datetime
) -> tuple[Notice, Decision]:
    return Notice(use_case=use_case, kind=kind, key=key), Decision(use_case, what, reason[:REASON], at)
