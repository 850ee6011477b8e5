"""A batch on its way from the Data API to the ledger: what is requested, and that nothing that has arrived is lost."""

import os
import resource
import time
from pathlib import Path

import pytest

from mlops_lab.data.artifacts import ArtifactError
from mlops_lab.data.source import EndOfDataError, SourceError
from mlops_lab.errors import ServiceError
from mlops_lab.steps.ingest import land, reset
from tests.support.data_api import END
from tests.support.flats import batch, flats


@pytest.fixture
def incoming(lab) -> Path:
    return lab.settings.home / "incoming" / "flats"


def arrived(incoming: Path) -> list[str]:
    return sorted(path.name for path in incoming.iterdir() if path.suffix != ".lock")


def numbers(lab) -> list[int | None]:
    return [entry.batch_number for entry in lab.ledger.batches("flats")]


def close(lab, use_case, entry) -> None:
    """Ends a batch without training, so that the next one can land."""
    lab.ledger.note(entry.id, state="done")


def test_a_batch_that_landed_leaves_nothing_in_the_incoming_folder(lab, use_case, course, incoming):
    course.will_answer(batch(1, flats(5)), batch(2, flats(5, seed=1)))
    for number in (1, 2):
        entry = land(lab, use_case)
        assert entry.batch_number == number
        assert arrived(incoming) == []
        close(lab, use_case, entry)
    keys = [headers["Idempotency-Key"] for headers in course.headers]
    assert len(set(keys)) == 2


@pytest.mark.fault
def test_nothing_is_requested_when_the_disk_has_no_room_for_the_reply(lab, use_case, course, incoming):
    course.will_answer(batch(1, flats(5)), END)
    lab.store.prepare_tables(use_case)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A larger file can't be written, as on a disk with 30 MB.
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000_000, before[1]))
    try:
        with pytest.raises(ArtifactError, match=r"no batch is requested.*64 MB.*free disk space"):
            land(lab, use_case)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert course.asked == []
    assert not list(lab.settings.home.rglob("*.part"))
    assert land(lab, use_case).batch_number == 1


@pytest.mark.fault
@pytest.mark.parametrize("where", ["api-artifacts/payloads/flats", "incoming/flats/room.part"])
def test_nothing_is_requested_when_the_reply_cannot_be_written(lab, use_case, course, where):
    course.will_answer(batch(1, flats(5)), END)
    obstacle = lab.settings.home / where
    obstacle.parent.mkdir(parents=True)
    if where.startswith("api"):
        obstacle.touch()
    else:
        obstacle.mkdir()
    with pytest.raises(ArtifactError):
        land(lab, use_case)
    assert course.asked == []


@pytest.mark.fault
def test_a_reply_that_the_bucket_refuses_is_kept_and_is_the_next_to_land(
    lab, use_case, course, incoming, monkeypatch
):
    course.will_answer(batch(1, flats(5)), END)

    def full(path, content):
        raise ArtifactError("the object store is full")

    with monkeypatch.context() as patch:
        patch.setattr(lab.artifacts, "put", full)
        for _ in range(3):
            with pytest.raises(ArtifactError, match=rf"is kept in {incoming}/reply.json"):
                land(lab, use_case)
    assert len(course.asked) == 1
    entry = land(lab, use_case)
    assert (entry.batch_number, entry.source) == (1, "incoming")
    assert arrived(incoming) == []


@pytest.mark.fault
@pytest.mark.parametrize("point", ["artifacts.put", "ledger.land", "incoming"])
def test_a_kill_after_the_reply_loses_nothing(lab, use_case, course, incoming, monkeypatch, point):
    course.will_answer(batch(1, flats(5)), END)

    def killed(*_, **__):
        raise KeyboardInterrupt

    place = {
        "artifacts.put": (lab.artifacts, "put"),
        "ledger.land": (lab.ledger, "land"),
        "incoming": (Path, "unlink"),  # the batch is in the ledger, the reply isn't removed yet
    }[point]
    with monkeypatch.context() as patch:
        patch.setattr(*place, killed)
        with pytest.raises(KeyboardInterrupt):
            land(lab, use_case)
    entry = land(lab, use_case)
    assert numbers(lab) == [1]
    close(lab, use_case, entry)
    with pytest.raises(EndOfDataError):
        land(lab, use_case)
    assert numbers(lab) == [1]
    assert "reply.json" not in arrived(incoming)


@pytest.mark.fault
def test_a_lost_reply_is_asked_for_again_with_the_same_key(lab, use_case, course, monkeypatch):
    monkeypatch.setattr("mlops_lab.data.source.time.sleep", lambda _: None)
    course.will_answer((200, b'{"batch', {"Content-Length": "5000"}))
    with pytest.raises(SourceError):
        land(lab, use_case)
    course.will_answer(batch(1, flats(5)))
    land(lab, use_case)
    assert len({headers["Idempotency-Key"] for headers in course.headers}) == 1


@pytest.mark.fault
def test_half_written_files_of_a_killed_process_never_count_and_are_removed(lab, use_case, course, incoming):
    course.will_answer(batch(1, flats(5)))
    payloads = lab.settings.home / "api-artifacts" / "payloads" / "flats"
    for folder in (payloads, incoming):
        folder.mkdir(parents=True)
        (folder / "reply.json.part").write_bytes(b'{"batch')
    (incoming / "key").touch()  # an empty key is none
    assert land(lab, use_case).batch_number == 1
    assert not list(lab.settings.home.rglob("*.part"))
    assert course.headers[0]["Idempotency-Key"]


def test_downloads_that_a_killed_process_left_are_removed(trained, use_case):
    for name, age in (("old", 7200), ("young", 0)):
        left = trained.cache / f".arriving-{name}"
        left.mkdir(parents=True)
        os.utime(left, (time.time() - age,) * 2)
    champion = trained.champion("flats")
    for known in trained.cache.glob("flats-*"):
        known.rename(trained.cache / "moved")
    trained.predictor(champion)
    assert [path.name for path in trained.cache.glob(".arriving-*")] == [".arriving-young"]


def test_no_password_of_the_address_is_in_the_ledger(lab, use_case, course):
    lab.settings = lab.settings.model_copy(
        update={"data_api_url": course.url.replace("://", "://ana:hidden@") + "?token=hidden"}
    )
    course.will_answer(batch(1, flats(5)))
    entry = land(lab, use_case)
    assert entry.source == f"{course.url}/data?group_number=1&token=***"


def test_a_second_process_waits_for_the_first_and_gives_up_in_the_end(lab, use_case, course, monkeypatch):
    course.will_answer(batch(1, flats(5)))
    monkeypatch.setattr("mlops_lab.data.incoming.PATIENCE", 0.0)
    with lab.incoming.slot("flats"), pytest.raises(ServiceError, match="another process has been landing"):
        land(lab, use_case)
    assert course.asked == []


def test_reset_forgets_a_reply_that_waits(lab, use_case, course, incoming, monkeypatch):
    course.will_answer(batch(1, flats(5)), (200, {"ok": True}))
    with monkeypatch.context() as patch:
        patch.setattr(lab.artifacts, "put", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            land(lab, use_case)
    assert "reply.json" in arrived(incoming)
    reset(lab, use_case)
    assert arrived(incoming) == []
