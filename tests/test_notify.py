"""Decisions reach a real HTTP receiver and a real mail server, once; a bad receiver costs the loop nothing."""

import asyncio
import logging
import re
import threading
from dataclasses import replace
from datetime import timedelta
from queue import Queue

import pytest
from pydantic import SecretStr
from sqlalchemy import update

from mlops_lab.data.database import now
from mlops_lab.data.tables import Check, Notice, Promotion
from mlops_lab.loop import run_loop
from mlops_lab.notify import NotifyError, send
from mlops_lab.settings import Settings
from mlops_lab.steps import notices
from mlops_lab.steps.attempts import retry
from mlops_lab.steps.notices import tell
from mlops_lab.steps.promote import roll_back
from tests.support.data_api import END
from tests.support.flats import batch, flats
from tests.support.receiver import TOKEN, Receiver


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a busy machine a receiver may need longer than the loop waits for it."""
    monkeypatch.setattr(notices, "PATIENCE", 60)


@pytest.fixture
def receiver():
    with Receiver() as server:
        yield server


@pytest.fixture
def told(trained, receiver):
    """The trained lab, whose first promotion nobody was told yet, with this receiver; and its lines of progress."""
    lines = []
    settings = trained.settings.model_copy(update={"notify_url": SecretStr(receiver.url)})
    return replace(trained, settings=settings, progress=lines.append), lines


def test_each_decision_is_told_once(told, receiver, use_case):
    lab, lines = told
    tell(lab, "flats")
    [body] = receiver.bodies
    [decision] = body["decisions"]
    assert decision["use_case"] == "flats"
    assert decision["what"].endswith(" promoted")
    assert decision["what"] in body["subject"]
    assert decision["reason"] in body["text"]
    tell(lab, "flats")
    assert len(receiver.bodies) == 1

    champion = lab.ledger.standing("flats").champion
    other = next(version for version in lab.ledger.models("flats") if version != champion)
    roll_back(lab, use_case, other)
    assert receiver.bodies[1]["decisions"][0]["what"] == f"rolled back to version {other}"
    batch = lab.ledger.batches("flats")[0]
    lab.ledger.note(batch.id, state="broken", fault="too odd")
    lab.ledger.put_check(
        Check(
            use_case="flats",
            version=1,
            rows=9,
            labelled=0,
            metric="mae",
            passed=True,
            retrain=True,
            reason="drift",
        )
    )
    lab.ledger.put_promotion(
        Promotion(use_case="flats", sequence=99, challenger=3, outcome="refused", reason="not better")
    )
    tell(lab, "flats")
    told_now = [entry["what"] for entry in receiver.bodies[2]["decisions"]]
    assert told_now == ["batch 1 broken", "monitoring requested a training"]
    retry(lab, use_case)
    lab.ledger.note(batch.id, state="held", fault="still odd")
    tell(lab, "flats")
    (news,) = receiver.bodies[3]["decisions"]
    assert (news["what"], news["reason"]) == ("batch 1 held", "still odd")
    assert not any(TOKEN in line for line in lines)


def test_what_a_dead_receiver_or_a_kill_left_is_told_later_and_an_old_decision_never(told, receiver):
    lab, lines = told
    receiver.status = 503
    tell(lab, "flats")
    tell(lab, "flats")
    assert lines == [
        "warning: nobody was notified: a webhook at 127.0.0.1 answers with status 503 (LAB_NOTIFY_URL)"
    ]
    receiver.status = 200
    with lab.store.raw.begin() as db:
        db.execute(update(Notice).values(claimed_at=now() - 2 * notices.CLAIM))
    tell(lab, "flats")
    assert len(receiver.bodies) == 2
    with lab.store.raw.begin() as db:
        db.execute(Notice.__table__.delete())
        db.execute(update(Promotion).values(decided_at=now() - timedelta(days=2)))
    tell(lab, "flats")
    assert len(receiver.bodies) == 2


@pytest.mark.fault
@pytest.mark.usefixtures("without_pictures")
def test_a_loop_that_was_killed_tells_each_decision_once_when_it_runs_again(
    lab, receiver, use_case, course, monkeypatch
):
    settings = lab.settings.model_copy(update={"notify_url": SecretStr(receiver.url)})
    lab = replace(lab, settings=settings)
    course.will_answer(batch(1, flats(400)), (200, b"<html>"), END)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlops_lab.loop.finish", killed)
        with pytest.raises(KeyboardInterrupt):
            run_loop(lab, use_case)
    assert receiver.bodies == []
    for _ in range(2):
        run_loop(lab, use_case)
    assert [re.sub(r"\d+", "N", what) for what in receiver.told] == [
        "version N promoted",
        "batch with id N broken",
    ]


def test_a_slow_receiver_does_not_hold_the_loop_and_still_gets_the_message(told, receiver, monkeypatch):
    lab, lines = told
    monkeypatch.setattr(notices, "PATIENCE", 0.2)
    receiver.hold.clear()
    tell(lab, "flats")
    assert lines == ["warning: the receiver of LAB_NOTIFY_URL needs more than 0 s; the loop goes on"]
    receiver.hold.set()
    for thread in threading.enumerate():
        if thread.name == "notify":
            thread.join(20)
    tell(lab, "flats")
    assert len(receiver.bodies) == 1


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"ftp://example.org/{TOKEN}", "its forms are"),
        (f"https://[{TOKEN}", "its forms are"),
        (f"http://127.0.0.1:99999/{TOKEN}", "its forms are"),
        (f"http://127.0.0.1:1/{TOKEN}", "a webhook at 127.0.0.1 can't be reached: ConnectError"),
        (f"smtp://u:{TOKEN}@127.0.0.1:1/?from=a@b.c&to=d@e.f", "a mail server at 127.0.0.1 can't be reached"),
        (f"smtp://u:{TOKEN}@127.0.0.1:1", "no sender or no reader"),
    ],
)
def test_a_url_that_cannot_work_is_one_line_without_its_secret(url, words, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotifyError, match="LAB_NOTIFY_URL") as raised:
        send(url, "subject", "text")
    assert words in str(raised.value)
    assert TOKEN not in str(raised.value) + caplog.text
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_wrong_url_is_said_at_start_and_an_empty_one_is_none(monkeypatch):
    monkeypatch.setenv("LAB_NOTIFY_URL", f"ftp://example.org/{TOKEN}")
    with pytest.raises(NotifyError, match="LAB_NOTIFY_URL can't be used; its forms are") as raised:
        Settings()
    assert TOKEN not in str(raised.value)
    monkeypatch.setenv("LAB_NOTIFY_URL", " ")
    assert Settings().notify_url is None


def test_the_url_is_not_logged_when_it_works(receiver, caplog):
    caplog.set_level(logging.DEBUG)
    assert send(receiver.url, "subject", "text") == "a webhook at 127.0.0.1"
    assert TOKEN not in caplog.text


def test_a_slack_like_webhook_gets_text_in_which_nothing_is_a_mention(receiver):
    send(f"slack+{receiver.url}", "flats: news", "<!channel> & more")
    assert receiver.bodies == [{"text": "*flats: news*\n&lt;!channel&gt; &amp; more"}]


def test_mail(mail):
    port, mails = mail
    url = f"smtp://127.0.0.1:{port}/?from=lab@example.org&to=me@example.org&to=you@example.org"
    assert send(url, "flats: news", "Größe: 3") == "a mail server at 127.0.0.1"
    [text] = mails
    assert "Subject: flats: news" in text
    assert "To: me@example.org, you@example.org" in text


def test_a_password_is_never_sent_without_tls(mail):
    port, mails = mail
    with pytest.raises(NotifyError, match="can't be reached: SMTPNotSupportedError"):
        send(f"smtp://u:{TOKEN}@127.0.0.1:{port}/?from=a@b.c&to=d@e.f", "subject", "text")
    assert not mails


@pytest.fixture
def mail():
    """A small mail server, RFC 5321's commands without TLS: its port, and the mails that it took."""
    mails = []

    async def serve(reader, writer):
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            assert word != "AUTH", "a login without TLS"
            writer.write({"DATA": b"354 go\r\n", "QUIT": b"221 bye\r\n"}.get(word, b"250 ok\r\n"))
            if word == "DATA":
                mails.append((await reader.readuntil(b"\r\n.\r\n")).decode().replace("\r\n", "\n"))
                writer.write(b"250 taken\r\n")
            if word == "QUIT":
                break
        writer.close()

    loop, ports = asyncio.new_event_loop(), Queue()

    # In a thread of its own from the start: in this one Playwright's loop may be running.
    def run() -> None:
        server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
        ports.put(server.sockets[0].getsockname()[1])
        loop.run_forever()
        server.close()
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield ports.get(timeout=60), mails
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
