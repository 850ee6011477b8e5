"""What `validate` hands to `prepare` is what RawData has, and where it can't be used, RawData is read."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from mlops_lab.data import checked_rows
from mlops_lab.steps import ingest
from mlops_lab.steps.ingest import land, prepare, validate
from tests.support.data_api import END
from tests.support.flats import batch, flats

ROWS = 90


@pytest.fixture
def said(lab, monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(lab, "progress", lines.append)
    return lines


@pytest.fixture
def checked(lab, use_case, course, monkeypatch, said):
    """The entry of a batch that is validated in parts of 20 rows. Some values are missing, and one row is bad."""
    monkeypatch.setattr(ingest, "CHUNK", 20)
    rows = flats(ROWS)
    for number, row in enumerate(rows):
        row[1 + number % 4] = None
    rows[45][0] = "wide"
    course.will_answer(batch(1, rows), END)
    entry = land(lab, use_case)
    validate(lab, use_case, entry.id)
    said.clear()
    return entry


def test_the_rows_are_typed_as_those_of_raw_data(lab, use_case, checked):
    found = checked_rows.take(lab.artifacts, use_case, checked)
    pd.testing.assert_frame_equal(found, lab.store.read_raw(use_case, checked.id))
    assert found.index.tolist() == [*range(45), *range(46, ROWS)]
    entry = lab.ledger.batch(checked.id)
    assert (entry.state, entry.received, entry.stored, entry.quarantined) == ("stored", ROWS, ROWS - 1, 1)
    [broken] = lab.store.quarantined(use_case, [checked.id])
    assert (broken.column, broken.rule, broken.rows) == ("area", "type", 1)


def test_they_are_in_the_bucket_only_between_the_two_steps(lab, use_case, checked, said):
    folder = lab.settings.home / "api-artifacts" / "checked"
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    prepare(lab, use_case, checked.id)
    assert not [path for path in folder.rglob("*") if path.is_file()]
    assert not [line for line in said if "RawData" in line]
    # Once more, as when its task ended after the rows were prepared and before that was known.
    before = lab.snapshots.read(use_case)
    prepare(lab, use_case, checked.id)
    assert said[-3] == "the checked rows of batch 1 are missing; they are read from RawData again"
    pd.testing.assert_frame_equal(lab.snapshots.read(use_case), before)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("fault", "words"), [("cut", "are damaged"), ("altered", "are damaged"), ("other", "are of another")]
)
def test_damaged_ones_are_left_and_raw_data_is_read(lab, use_case, checked, said, fault, words):
    [path] = (lab.settings.home / "api-artifacts" / "checked").rglob("*.parquet")
    content = path.read_bytes()
    if fault == "other":
        other = checked_rows.Handover(use_case, lab.ledger.batch(checked.id))
        lab.ledger.note(checked.id, digest="0" * 64)
        other.store(lab.artifacts, use_case, checked)
    else:
        path.write_bytes(
            content[:-50] if fault == "cut" else content[:60] + bytes([content[60] ^ 255]) + content[61:]
        )
    prepare(lab, use_case, checked.id)
    assert said[0].startswith(f"the checked rows of batch 1 {words}")
    assert said[0].endswith("; they are read from RawData again")
    assert len(said[0].splitlines()) == 1
    assert lab.ledger.batch(checked.id).clean == ROWS - 1


def test_a_rule_of_the_use_case_sees_all_rows_at_once(lab, use_case, course, monkeypatch):
    seen = []
    rules = {"all": lambda frame: seen.append(len(frame)) or frame["rent"] < frame["rent"].max()}
    monkeypatch.setattr(ingest, "CHUNK", 20)
    course.will_answer(batch(1, flats(ROWS)), END)
    strict = replace(use_case, rules=rules)
    entry = land(lab, strict)
    validate(lab, strict, entry.id)
    assert seen == [ROWS]
    assert lab.ledger.batch(entry.id).quarantined == 1


def test_rows_that_show_another_layout_at_their_end_are_stored_once(lab, use_case, course, monkeypatch, said):
    monkeypatch.setattr(ingest, "CHUNK", 20)
    rows = [[1, 2], *(row[::-1] for row in flats(60))]
    names = [column.name for column in use_case.columns][::-1]
    course.will_answer(batch(1, rows) | {"columns": names}, END)
    # The first reading takes the first column for the area, and so on; the names of the columns come last.
    body = json.dumps(batch(1, rows) | {"columns": names})
    assert body.index('"columns"') > body.index('"data"')
    entry = land(lab, use_case)
    validate(lab, use_case, entry.id)
    entry = lab.ledger.batch(entry.id)
    assert (entry.received, entry.stored, entry.quarantined) == (61, 60, 1)
    assert [line for line in said if line.startswith("quarantined")] == [
        "quarantined: (row) it has 2 values instead of 6 (1 row)"
    ]
    assert checked_rows.take(lab.artifacts, use_case, entry).index.tolist() == [*range(1, 61)]
