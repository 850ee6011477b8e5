"""`lab why`: a decision told from its records."""

import json
import re
from datetime import datetime

import pytest
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.errors import LabError, ModelError
from mlops_lab.steps.promote import roll_back
from mlops_lab.why import lines, why_batch, why_version

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    return lambda *arguments: CliRunner().invoke(app, ["why", "flats", *arguments])


def test_a_batch_tells_why_it_was_learnt_from_and_what_became_of_its_versions(trained, run):
    batch = trained.ledger.batches("flats")[-1]
    champion = trained.ledger.standing("flats").champion
    other = ({1, 2} - {champion}).pop()
    assert run().stdout == run("--batch", "1").stdout
    said = run().stdout.splitlines()
    assert (
        said[0]
        == f"batch 1 (done): {batch.received:,} received, {batch.quarantined:,} quarantined, {batch.clean:,} clean"
    )
    assert said[1].startswith("  checks: ")
    assert said[2] == f"  decision: train, {batch.reason}"
    about = {int(line.split()[1]): line for line in said if line.startswith("version ")}
    assert "not chosen, " in about[other]
    assert re.fullmatch(
        rf"version {champion} \(\w+, rmse [\d.]+ on validation; later, as champion, rmse .* sealed rows.*\)",
        about[champion],
    )
    [decision] = trained.ledger.promotions("flats")
    told = said[said.index(about[champion]) + 1]
    assert MOMENT.sub("T", told) == (
        f"  T: promoted as the first champion ({decision.holdout_rows} test rows): {decision.reason}"
    )


def test_a_version_tells_each_decision_on_it(trained, use_case, run):
    champion = trained.ledger.standing("flats").champion
    other = ({1, 2} - {champion}).pop()
    roll_back(trained, use_case, other)
    said = [MOMENT.sub("T", line) for line in run(str(champion)).stdout.splitlines()]
    assert said[-1] == f"  T: rolled back to version {other}: rolled back by hand"
    assert said[-2].startswith("  T: promoted as the first champion ")
    assert f"version {other} " not in "\n".join(said[:-1])
    found = json.loads(run(str(champion), "--json").stdout)
    assert [one["outcome"] for one in found["versions"][0]["decisions"]] == ["promoted", "rolled back"]
    assert found["batch"]["decision"] == "train"


def test_a_batch_that_was_held_and_accepted_tells_both(trained, use_case):
    checks = [
        {"name": "nulls", "outcome": "fail", "text": "floor has 80% nulls", "figures": {}},
        {"name": "schema", "outcome": "pass", "text": "6 columns", "figures": {}},
    ]
    when = datetime(2026, 1, 2, 3, 4)
    trained.store.create_tables()
    record = {"accepted_by": "eva", "accepted_reason": "a new form", "accepted_at": when, "checks": checks}
    trained.ledger.note(1, state="held", fault="nulls: floor has 80% nulls", decision=None, **record)
    assert lines(why_batch(trained, use_case))[1:5] == [
        "  checks: nulls fail, floor has 80% nulls",
        "  accepted by eva at 2026-01-02 03:04 UTC: a new form",
        "  held: nulls: floor has 80% nulls",
        "  decision: none yet",
    ]
    trained.ledger.note(1, checks=checks[1:])
    assert lines(why_batch(trained, use_case))[1] == "  checks: all 1 pass"


def test_by_default_it_is_the_newest_batch(trained, run):
    trained.ledger.land("flats", "f" * 64, 2, "payloads/flats/f.json", "flats")
    assert run().stdout.splitlines() == ["batch 2 (landed): rows not counted yet", "  decision: none yet"]
    assert run("--batch", "1").stdout.startswith("batch 1 (done): ")


def test_what_there_is_not_is_one_line(trained, use_case, run):
    with pytest.raises(LabError, match="flats has no batch 9; `lab status flats` lists them"):
        why_batch(trained, use_case, 9)
    with pytest.raises(ModelError, match="flats has no version 9"):
        why_version(trained, use_case, 9)
    done = run("1", "--batch", "1")
    assert (done.exit_code, done.stderr) == (1, "error: name a version or a batch, not both\n")
