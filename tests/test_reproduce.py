"""`lab reproduce`: a version comes out again byte for byte; where it doesn't, every difference is named."""

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from mlops_lab.cli import app
from mlops_lab.contract import Contract
from mlops_lab.data.migrate import VERSION_TABLE
from mlops_lab.errors import ModelError
from mlops_lab.model import lineage
from mlops_lab.steps.reproduce import reproduce
from tests.support.labs import change_clean


def test_every_version_comes_out_again(trained, use_case):
    for version in trained.registry.versions("flats"):
        found = reproduce(trained, use_case, version.version)
        assert (found.same, found.causes, found.changes) == (True, [], [])
    # Nothing is registered, and no run is left.
    assert len(trained.registry.versions("flats")) == 2


def test_a_version_of_an_earlier_release_comes_out_again_before_anything_else_ran(trained, use_case):
    with trained.store.raw.begin() as db:
        for column in ("snapshot", "snapshot_digest"):
            db.execute(text(f"ALTER TABLE batches DROP COLUMN {column}"))
        db.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0013'"))
    found = reproduce(trained, use_case, 1)
    assert (found.same, found.causes) == (True, [])


def test_other_code_that_gives_the_same_model_is_named(trained, use_case, monkeypatch):
    libraries = lineage.libraries()
    monkeypatch.setattr(lineage, "commit", lambda: "b" * 40)
    monkeypatch.setattr(lineage, "libraries", lambda: libraries | {"numpy": "0.9"})
    found = reproduce(trained, use_case, 1)
    assert found.same
    assert [cause.partition(":")[0] for cause in found.causes] == ["code", "numpy"]
    assert "bbbbbbbbbbbb now" in found.causes[0]
    assert found.causes[1] == f"numpy: {libraries['numpy']} then, 0.9 now"


def test_a_value_that_was_changed_is_found(trained, use_case):
    trained.store.prepare_tables(use_case)
    where = "row_hash = (SELECT MIN(row_hash) FROM flats_clean WHERE split = 'train')"
    assert change_clean(trained, f"UPDATE flats_clean SET rent = rent + 1000 WHERE {where}") == 1
    found = reproduce(trained, use_case, 1)
    assert found.causes == ["rows: their values or their order differ"]
    assert found.changes[0] == "the graph is another one"
    assert any(line.startswith("metrics: test rmse ") and " then, " in line for line in found.changes)


def test_rows_of_a_batch_that_was_accepted_since_are_left_out(trained, use_case, monkeypatch):
    trained.store.prepare_tables(use_case)
    load = Contract.load

    def older(folder):
        contract = load(folder)
        return contract.model_copy(
            update={"lineage": contract.lineage.model_copy(update={"batches": [1, 3]})}
        )

    monkeypatch.setattr(Contract, "load", older)
    for batch in (2, 3):
        assert trained.ledger.land("flats", str(batch) * 64, batch, "a payload", "a test")[0].id == batch
        some = "SELECT row_hash FROM flats_clean WHERE split = 'train' AND batch_id = 1 LIMIT 50"
        assert (
            change_clean(
                trained,
                f"UPDATE flats_clean SET batch_id = {batch} WHERE row_hash IN ({some})",
            )
            == 50
        )
    train = load(trained.model_folder(trained.registry.version("flats", 1))).lineage.rows["train"]
    assert f"rows: {train} train rows then, {train - 50} now" in reproduce(trained, use_case, 1).causes


def test_rows_that_are_gone_are_counted(trained, use_case):
    trained.store.prepare_tables(use_case)
    gone = change_clean(trained, "DELETE FROM flats_clean WHERE split = 'test'")
    found = reproduce(trained, use_case, 1)
    assert f"rows: {gone} test rows then, 0 now" in found.causes
    assert not found.same


def test_the_command_ends_with_one_line_and_its_status(trained, use_case, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(trained.settings.home))
    monkeypatch.setenv("LAB_USE_CASES", str(trained.settings.use_cases))
    done = CliRunner().invoke(app, ["reproduce", "flats", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith("version 1 of flats comes out again: the same graph, ")
    trained.store.prepare_tables(use_case)
    change_clean(trained, "UPDATE flats_clean SET rent = 2 * rent")
    done = CliRunner().invoke(app, ["reproduce", "flats", "1", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["causes"] == ["rows: their values or their order differ"]
    assert done.stderr.splitlines()[-1] == "error: version 1 of flats doesn't come out again"


def test_what_can_not_be_trained_again_is_one_line(trained, use_case):
    with pytest.raises(ModelError, match="flats has no version 99"):
        reproduce(trained, use_case, 99)
    use_case.candidates[:] = []
    with pytest.raises(ModelError, match=r"flats has no candidate '\w+' any more"):
        reproduce(trained, use_case, 1)
