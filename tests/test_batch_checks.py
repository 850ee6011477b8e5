"""The named checks of a batch: what each one says, and how a batch of which one fails is held back and goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_lab import Bound, CheckPolicy
from mlops_lab.cli import app
from mlops_lab.data.payload import HeldBatchError, parse
from mlops_lab.data.prepare import prepare
from mlops_lab.data.split import with_split
from mlops_lab.data.validate import validate
from mlops_lab.errors import LabError
from mlops_lab.loop import run_batch, run_loop
from mlops_lab.model.batch_checks import content, ranges, schema
from mlops_lab.model.encoding import encode_frame
from mlops_lab.model.fit_contract import describe, fit_contract
from mlops_lab.model.registry import CHAMPION
from tests.support.data_api import END
from tests.support.flats import batch, flats

NAMES = ["sufficiency", "nulls", "duplicates", "extremes", "target", "categories", "drift"]
FLOOR, DISTRICT, RENT = 1, 2, 5


def prepared(use_case, rows):
    found = validate(parse(json.dumps(batch(1, rows)).encode(), use_case), use_case)
    typed = with_split(use_case, found.typed)
    return typed, prepare(use_case, typed).frame, found.problems


def learnt(use_case, rows):
    """The contract of a champion that learnt from the rows; there is no need for its model."""
    frame = prepared(use_case, rows)[1]
    contract = fit_contract(use_case, frame)
    return describe(contract, encode_frame(contract, frame), contract.encode_target(frame["rent"]), seed=0)


@pytest.fixture
def champion(use_case):
    return learnt(use_case, flats(600))


def changed(column, value, share=1.0):
    rows = flats(300, seed=1)
    for row in rows[: round(share * len(rows))]:
        row[column] = value(row) if callable(value) else value
    return rows


@pytest.mark.parametrize(
    ("rows", "name", "outcome", "words"),
    [
        (flats(99, seed=1), "sufficiency", "warn", "99 clean rows, fewer than 100"),
        (changed(FLOOR, None, 0.2), "nulls", "warn", "floor 20% null (0% in the champion's training rows)"),
        (changed(FLOOR, None), "nulls", "fail", "floor 100% null"),
        (changed(FLOOR, None)[:99], "nulls", "warn", "floor 100% null"),  # too few rows to hold a batch back
        (flats(300, seed=1) * 3, "duplicates", "warn", "67% of the clean rows: 600 repeated in the batch, 0 known"),
        (changed(RENT, lambda row: 100 * row[RENT]), "extremes", "fail", "of rent far outside of the champion's"),
        (changed(FLOOR, 60, 0.1), "extremes", "warn", "10% of floor far outside"),
        (changed(RENT, lambda row: row[RENT] + 1, 0.3) + flats(300, seed=1), "target", "warn", "30.0% of the rows"),
        (changed(DISTRICT, "docks", 0.08), "categories", "warn", 'new and frequent: district "docks" (8%)'),
        (changed(DISTRICT, lambda row: f"no {row[RENT]}"), "categories", "warn", "100% of district without a code (0%"),
        (changed(DISTRICT, "harbour"), "drift", "warn", "district moved most"),
        (changed(DISTRICT, "docks", 0.02), None, "pass", ""),
    ],
)  # fmt: skip
def test_each_check_names_what_is_odd(use_case, champion, rows, name, outcome, words):
    found = content(use_case, *prepared(use_case, rows)[:2], 0, champion)
    assert [check.name for check in found] == NAMES
    for check in found:
        json.dumps(check.figures, allow_nan=False)
        if check.name == name:
            assert check.outcome == outcome
            assert words in check.text
        # Another check may see the same rows, but none holds the batch back for them.
        elif outcome == "pass":
            assert check.outcome == "pass", check
        else:
            assert check.outcome != "fail", check


def test_a_first_batch_has_nothing_to_be_compared_with(use_case):
    found = content(use_case, *prepared(use_case, changed(FLOOR, None))[:2], 0, None)
    assert {check.name: check.text for check in found if check.outcome != "pass"} == {
        "nulls": "floor has no value"
    }


def test_nulls_that_the_champion_has_learnt_are_expected(use_case):
    rows = changed(DISTRICT, None, 0.6)
    found = content(use_case, *prepared(use_case, rows)[:2], 0, learnt(use_case, rows))
    assert {check.outcome for check in found} == {"pass"}


def test_the_bounds_are_the_use_case_s(use_case, champion):
    strict = CheckPolicy(fewest=400, duplicates=Bound(0.1, 0.2), drift_fail=0.5, ranges=Bound(0.0, 0.0))
    mine = replace(use_case, checks=strict)
    rows = changed(DISTRICT, "harbour")
    typed, clean, problems = prepared(mine, [*rows, [1, *rows[0][1:]]])
    found = [*content(mine, typed, clean, 100, champion), ranges(301, problems, strict)]
    assert [check.name for check in found if check.outcome == "fail"] == [
        "sufficiency",
        "duplicates",
        "drift",
        "ranges",
    ]
    assert "0.3% of the rows are in quarantine: area (minimum) 1" in found[-1].text


def test_new_gone_and_reordered_columns_are_named(use_case):
    names = [column.name for column in use_case.columns]
    assert schema(names, use_case, None).outcome == "pass"
    assert schema(names, use_case, names).text == "6 columns"
    found = schema([names[1], names[0], *names[2:], "lift"], use_case, [*names, "street"])
    says = "new: lift; gone: street; the columns have another order than in the batch before"
    assert (found.outcome, found.text) == ("warn", says)
    assert schema([*names, "lift"], use_case, None).outcome == "pass"
    assert schema([*names, "lift"], replace(use_case, layouts=[names]), None).text == "new: lift"


@pytest.fixture
def person(trained, monkeypatch):
    """Runs a command of `lab` on the trained lab."""
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    monkeypatch.setenv("LOGNAME", "ana")
    monkeypatch.setattr("mlops_lab.model.figures.draw", lambda *_: [])
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_failed_check_holds_a_batch_back_until_a_person_accepts_it(trained, use_case, course, person):
    lines: list[str] = []
    trained.progress = lines.append
    champion = trained.registry.by_alias("flats", CHAMPION).version
    course.will_answer(batch(2, changed(FLOOR, None)), batch(3, flats(60) + flats(20, seed=9)), END)
    run_loop(trained, use_case)
    held, after = trained.ledger.batches("flats")[1:]
    assert (held.state, held.stored, held.clean, held.attempts, after.state) == ("held", 300, None, 0, "done")
    assert "`lab accept flats 2` lets it go on" in held.fault
    assert f"held: batch 2 is held back, {held.fault}" in lines
    assert trained.snapshots.read(use_case)["batch_id"].unique().tolist() == [1, 3]
    outcomes = {check["name"]: check["outcome"] for check in held.checks}
    assert list(outcomes) == ["schema", "ranges", *NAMES]
    assert [name for name, outcome in outcomes.items() if outcome == "fail"] == ["nulls"]
    run = trained.registry.client.get_run(held.mlflow_run)
    assert (run.data.tags["lab.outcome"], run.info.status) == ("held", "FINISHED")
    assert run.data.tags["lab.checks"].startswith("fail: nulls; ")
    file = Path(trained.registry.client.download_artifacts(held.mlflow_run, "checks.json"))
    assert json.loads(file.read_text()) == held.checks
    # Neither another run nor a training by hand touches it.
    asked = len(course.asked)
    run_loop(trained, use_case)
    assert len(course.asked) == asked + 1
    assert trained.ledger.batch(held.id).state == "held"

    assert "flats has no held batch 3" in person("accept", "flats", "3").stderr
    opened = person("accept", "flats", "2", "--reason", "the floor is not asked any more", "--json")
    assert json.loads(opened.stdout) == {"accepted": 1}
    result = run_batch(trained, use_case)
    accepted = trained.ledger.batch(held.id)
    assert (accepted.state, accepted.clean, accepted.decision, accepted.fault) == ("done", 300, "train", None)
    assert (accepted.accepted_by, accepted.accepted_reason) == ("ana", "the floor is not asked any more")
    assert accepted.accepted_at is not None
    assert "100% of the batch's groups are new" in accepted.reason
    assert any(
        line.startswith("accepted by ana: the floor is not asked any more; failed checks") for line in lines
    )
    assert result.outcome.version > champion
    version = trained.registry.version("flats", result.outcome.version)
    assert trained.predictor(version).contract.lineage.batches == [1, 2, 3]


def test_a_held_batch_is_checked_by_other_bounds_after_a_retry(trained, use_case, course, person):
    course.will_answer(batch(2, changed(FLOOR, None)), END)
    with pytest.raises(HeldBatchError, match=r"nulls \(floor 100% null"):
        run_batch(trained, use_case)
    assert person("retry", "flats").exit_code == 0
    with pytest.raises(HeldBatchError):
        run_batch(trained, use_case)
    assert person("retry", "flats").exit_code == 0
    lenient = replace(use_case, checks=CheckPolicy(nulls=Bound(0.5)))
    run_batch(trained, replace(lenient, retrain=use_case.retrain.model_copy(update={"new_share": 2.0})))
    entry = trained.ledger.batches("flats")[1]
    assert (entry.state, entry.clean, entry.accepted_by) == ("done", 300, None)


def test_the_loop_stops_asking_when_every_batch_is_held(trained, use_case, course):
    odd = [batch(number, changed(FLOOR, None)[: 120 - number]) for number in range(2, 8)]
    course.will_answer(*odd, END)
    with pytest.raises(
        LabError, match="the newest 5 batches of flats brought no row that may be learnt from"
    ):
        run_loop(trained, use_case)
    assert [entry.state for entry in trained.ledger.batches("flats")] == ["done", *["held"] * 5]
