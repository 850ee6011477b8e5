"""A borderline decision waits for a person, who approves or rejects it; a time limit ends it otherwise."""

import json
import re
import shutil
from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.contract import MODEL_FILE, PromotionPolicy
from mlops_lab.data.database import now
from mlops_lab.data.source import EndOfDataError
from mlops_lab.data.tables import Promotion
from mlops_lab.data.waiting import waiting
from mlops_lab.errors import ModelError
from mlops_lab.loop import run_batch, train_now
from mlops_lab.model.registry import CHAMPION
from mlops_lab.monitor import monitor
from mlops_lab.rollout import RolloutError
from mlops_lab.steps.approve import apply_default, approve, reject
from mlops_lab.steps.challenge import Person
from mlops_lab.steps.promote import promote_by_hand, roll_back
from tests.support.data_api import END
from tests.support.flats import batch, flats
from tests.support.receiver import Receiver

pytestmark = pytest.mark.usefixtures("without_pictures")

EVA = Person("eva", "fewer\ncomplaints")
# Each gain reaches the margin and none is sure, so a person is asked about each.
ASK = {"margin": 0, "sure": 1, "very_sure": None, "between": "ask"}


@pytest.fixture
def asking(use_case):
    return replace(use_case, promotion=PromotionPolicy(**ASK))


@pytest.fixture
def asked(trained, asking, two) -> Promotion:
    """The decision on the better one of two versions, which waits for a person."""
    assert not promote_by_hand(trained, asking, two[1]).promoted
    return trained.ledger.promotions("flats")[-1]


@pytest.fixture
def lab_(trained, monkeypatch):
    """lab_("status", "flats") → the command's result."""
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    monkeypatch.setattr("mlops_lab.cli.versions.this_person", lambda: "eva")
    return lambda *arguments: CliRunner().invoke(app, arguments)


def too_late(lab, **columns):
    """The decision waits until a second ago."""
    columns = {"waits_until": now() - timedelta(seconds=1)} | columns
    with lab.store.raw.begin() as db:
        db.execute(update(Promotion).where(Promotion.outcome == "waiting").values(**columns))


def not_served(lab, *_):
    """The prediction service doesn't answer."""
    away = {"inference_url": "http://127.0.0.1:9", "rollout_timeout": 0.1}
    lab.settings = lab.settings.model_copy(update=away)


def lost(lab, version: int):
    """The version's files are gone from the store."""
    run = lab.registry.version("flats", version).run_id
    for graph in lab.settings.home.rglob(MODEL_FILE):
        graph.unlink() if run in str(graph) else None
    shutil.rmtree(lab.cache, ignore_errors=True)


def outcome(lab, version: int) -> str:
    return lab.registry.version("flats", version).facts.outcome


def batch_outcome(lab, place: int) -> str:
    """By the run of one of its batches."""
    return lab.registry.client.get_run(lab.ledger.batches("flats")[place].mlflow_run).data.tags["lab.outcome"]


@pytest.mark.slow
def test_the_loop_goes_on_while_a_person_is_asked_and_a_newer_challenger_takes_the_place(
    trained, asking, course, lab_
):
    champion = trained.ledger.standing("flats").champion
    course.will_answer(batch(2, flats(600, seed=4)), batch(3, flats(600, seed=5)), END)
    one = replace(asking, candidates=asking.candidates[:1])
    with Receiver() as receiver:
        trained.settings = trained.settings.model_copy(update={"notify_url": SecretStr(receiver.url)})
        first = run_batch(trained, one)
        asked = trained.ledger.promotions("flats")[-1]
        assert (asked.outcome, asked.challenger, asked.champion) == (
            "waiting",
            first.outcome.version,
            champion,
        )
        assert "left to a person: rmse" in asked.reason
        assert asked.waits_until - asked.decided_at == timedelta(hours=24)
        assert asked.default_outcome == "refused"
        assert (first.outcome.promoted, first.more) == (False, True)
        assert trained.registry.by_alias("flats", CHAMPION).version == champion
        assert f"version {asked.challenger} waits: {asked.said}" in lab_("status", "flats").stdout
        [entry] = json.loads(lab_("status", "flats", "--json").stdout)
        assert entry["waiting"]["challenger"] == asked.challenger
        assert entry["waiting"]["sureness"] == asked.sureness
        assert f": waiting against version {champion} (" in lab_("why", "flats").stdout

        newer = run_batch(trained, one).outcome.version
        history = trained.ledger.promotions("flats")
        assert [(row.challenger, row.outcome) for row in history[1:]] == [
            (asked.challenger, "waiting"),
            (asked.challenger, "refused"),
            (newer, "waiting"),
        ]
        said = f"superseded by version {newer}, which waits in its place; the comparison: {asked.reason}"
        assert history[2].reason == said
        assert waiting(history).challenger == newer
    assert receiver.told[1:] == [
        f"version {asked.challenger} waits for a decision",
        f"version {asked.challenger} isn't promoted",
        f"version {newer} waits for a decision",
    ]
    assert [outcome(trained, asked.challenger), outcome(trained, newer)] == ["refused", "waiting"]
    assert [batch_outcome(trained, number) for number in (1, 2)] == ["refused", "waiting"]

    late = lab_("approve", "flats", str(asked.challenger), "--reason", "we like it")
    assert late.exit_code == 1
    assert late.stderr.startswith(
        f"error: version {asked.challenger} of flats doesn't wait for a decision: refused at"
    )
    assert late.stderr.endswith(f"; version {newer} waits\n")
    assert late.stderr.count("\n") == 1

    # What the policy decided is replayed, what became of it isn't.
    replayed = json.loads(lab_("replay", "flats", "--json", "--policy", json.dumps(ASK)).stdout)
    assert [(one["was"], one["would"]) for one in replayed] == [
        ("promoted", None),
        ("waiting", "waiting"),
        ("waiting", "waiting"),
    ]
    approve(trained, one, newer, EVA)
    assert outcome(trained, newer) == batch_outcome(trained, 2) == "promoted"


def test_who_approves_is_recorded_and_the_version_is_served(trained, asking, asked, lab_):
    champion, version = asked.champion, asked.challenger
    done = lab_("approve", "flats", str(version), "--reason", "fewer [/] complaints")
    assert done.exit_code == 0, done.stderr
    row = trained.ledger.promotions("flats")[-1]
    assert (row.outcome, row.challenger, row.champion, row.decided_by) == (
        "promoted",
        version,
        champion,
        "eva",
    )
    assert row.reason == f"approved by eva: fewer [/] complaints; the comparison: {asked.reason}"
    assert done.stdout.splitlines()[-1] == f"version {version} is the champion of flats: {row.reason}"
    assert (row.evidence, row.sureness, row.waits_until) == (asked.evidence, asked.sureness, None)
    assert row.decided_at > asked.decided_at
    assert trained.registry.version("flats", version).facts.holdout_uses == 2, "the answer reads no test row"
    assert trained.registry.by_alias("flats", CHAMPION).version == version
    told = lab_("why", "flats", str(version)).stdout.splitlines()
    assert [re.search(r"UTC: (\w+) against", line)[1] for line in told[-2:]] == ["waiting", "promoted"]
    assert "lab approve" not in told[-2], "it waits no more"
    again = lab_("reject", "flats", str(version), "--reason", "no")
    assert (
        again.stderr == f"error: version {version} of flats doesn't wait for a decision: it is the champion\n"
    )
    [entry] = json.loads(lab_("status", "flats", "--json").stdout)
    assert entry["waiting"] is None


def test_who_rejects_is_recorded_and_the_champion_stays(trained, asked, lab_):
    version = asked.challenger
    assert lab_("reject", "flats", str(version), "--reason", " ").stderr.startswith("error: --reason TEXT is")
    done = lab_("reject", "flats", str(version), "--reason", "not worth it")
    row = trained.ledger.promotions("flats")[-1]
    assert (row.outcome, row.decided_by) == ("refused", "eva")
    assert row.reason == f"rejected by eva: not worth it; the comparison: {asked.reason}"
    assert done.stdout == f"version {version} of flats isn't promoted: {row.reason}\n"
    assert outcome(trained, version) == "refused"
    assert trained.registry.by_alias("flats", CHAMPION).version == asked.champion
    never = lab_("approve", "flats", str(asked.champion), "--reason", "x")
    assert never.stderr.endswith("doesn't wait for a decision: it is the champion\n")
    assert lab_("approve", "flats", "77", "--reason", "x").stderr.endswith(": nobody was asked about it\n")


@pytest.mark.parametrize("default", ["refused", "promoted"])
def test_after_the_time_limit_the_default_of_the_record_applies(trained, asking, asked, lab_, default):
    version = asked.challenger
    too_late(trained, decided_at=now() - timedelta(hours=2, seconds=1), default_outcome=default)
    before = trained.ledger.promotions("flats")
    assert f"version {version} waits" in lab_("status", "flats").stdout
    assert trained.ledger.promotions("flats") == before, "a report decides nothing"
    if default == "refused":
        late = lab_("approve", "flats", str(version), "--reason", "at last")
        assert "doesn't wait for a decision: refused at" in late.stderr
    else:
        monitor(trained, asking)
    row = trained.ledger.promotions("flats")[-1]
    assert (row.outcome, row.decided_by) == (default, None)
    what = {"refused": "the champion is kept", "promoted": "it is promoted"}[default]
    assert row.reason == f"nobody decided within 2 h, so {what}; the comparison: {asked.reason}"
    served = trained.registry.by_alias("flats", CHAMPION).version
    assert served == (version if default == "promoted" else asked.champion)
    apply_default(trained, asking)
    assert trained.ledger.promotions("flats")[-1] == row


@pytest.mark.fault
@pytest.mark.parametrize(
    ("harm", "outcomes", "why"),
    [
        (not_served, ["promoted", "rolled back"], "isn't served within 0.1 s"),
        (
            lost,
            ["waiting", "refused"],
            "^nobody decided within .* h, but .*model.onnx is no longer in the store",
        ),
    ],
)
def test_a_default_that_cannot_be_carried_out_stops_no_batch(trained, asking, asked, harm, outcomes, why):
    too_late(trained, default_outcome="promoted")
    harm(trained, asked.challenger)
    with pytest.raises(EndOfDataError):
        run_batch(trained, asking)
    rows = trained.ledger.promotions("flats")[-2:]
    assert [row.outcome for row in rows] == outcomes
    assert re.search(why, rows[-1].reason), rows[-1].reason
    assert trained.registry.by_alias("flats", CHAMPION).version == asked.champion


@pytest.mark.fault
def test_of_two_answers_at_once_one_counts(trained, asking, asked, monkeypatch):
    original, others = trained.ledger.put_promotion, []

    def overtaken(decision):
        if not others:  # another person is quicker
            others.append(decision)
            reject(trained, asking, asked.challenger, Person("leo", "too old"))
        return original(decision)

    monkeypatch.setattr(trained.ledger, "put_promotion", overtaken)
    with pytest.raises(
        ModelError, match=r"doesn't wait for a decision: refused at .*rejected by leo: too old"
    ):
        approve(trained, asking, asked.challenger, EVA)
    history = trained.ledger.promotions("flats")
    assert [row.outcome for row in history[asked.sequence - 1 :]] == ["waiting", "refused"]
    assert trained.registry.by_alias("flats", CHAMPION).version == asked.champion


@pytest.mark.fault
def test_an_approved_version_that_is_not_served_is_taken_back(trained, asking, asked):
    not_served(trained)
    with pytest.raises(RolloutError, match=f"again version {asked.champion}"):
        approve(trained, asking, asked.challenger, EVA)
    rows = trained.ledger.promotions("flats")[-2:]
    assert [(row.outcome, row.decided_by) for row in rows] == [("promoted", "eva"), ("rolled back", None)]
    assert trained.registry.by_alias("flats", CHAMPION).version == asked.champion


@pytest.mark.fault
def test_an_approval_that_was_killed_before_mlflow_followed_is_set_right(trained, asking, asked, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trained.registry, "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            approve(trained, asking, asked.challenger, EVA)
    assert trained.registry.by_alias("flats", CHAMPION).version == asked.champion
    with pytest.raises(ModelError, match="doesn't wait for a decision: it is the champion"):
        approve(trained, asking, asked.challenger, EVA)
    assert trained.registry.by_alias("flats", CHAMPION).version == asked.challenger
    assert outcome(trained, asked.challenger) == "promoted"


def test_with_another_champion_since_it_is_compared_again(trained, asking, asked):
    champion, version = asked.champion, asked.challenger
    strict = PromotionPolicy(margin=1, very_sure=None)
    again = replace(asking, candidates=asking.candidates[:1], promotion=strict)
    third = train_now(trained, again).outcome.version
    assert waiting(trained.ledger.promotions("flats")) == asked, "a refused challenger takes nobody's place"
    roll_back(trained, asking, third)
    # Better than the new champion, too, and again not surely.
    assert approve(trained, asking, version, EVA).promoted
    row = trained.ledger.promotions("flats")[-1]
    assert (row.outcome, row.champion, row.decided_by) == ("promoted", third, "eva")
    assert row.reason.startswith(
        f"approved by eva: fewer complaints; version {third} is champion since, so it was compared again; "
        "the comparison: better by the margin of 0%, but not in 100% of the resamples"
    )
    assert row.evidence != asked.evidence

    # The same with a comparison that a person has no say in.
    roll_back(trained, asking, champion)
    assert not promote_by_hand(trained, asking, version).promoted
    roll_back(trained, asking, third)
    refused = approve(trained, again, version, EVA)
    assert not refused.promoted
    assert f"version {third} is champion since" in refused.reason
    assert trained.registry.by_alias("flats", CHAMPION).version == third
