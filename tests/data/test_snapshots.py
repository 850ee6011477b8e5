"""Snapshots: what is learnt from is what CleanData has, whatever became of the objects in the bucket."""

from dataclasses import replace

import pandas as pd
import pytest
from sqlalchemy import text

from mlops_lab import Number
from mlops_lab.data.artifacts import ArtifactError
from mlops_lab.data.split import SEALED
from mlops_lab.errors import LabError
from mlops_lab.lab import Lab
from mlops_lab.model.lineage import rows_digest
from mlops_lab.settings import Settings
from mlops_lab.steps.attempts import retry
from mlops_lab.steps.ingest import land, prepare, validate
from mlops_lab.steps.reproduce import reproduce
from tests.support.data_api import END
from tests.support.flats import batch, flats
from tests.support.labs import change_clean

COLUMNS = "area, floor, district, balcony, built, rent, split, batch_id, row_hash, group_hash"


def stored(lab, where: str) -> pd.DataFrame:
    """The rows of CleanData by a query, as pandas types them."""
    dates = {"built": lambda days: [None if day is None else pd.Timestamp(day).date() for day in days]}
    flags = {"balcony": lambda flags: [None if flag is None else bool(flag) for flag in flags]}
    query = f"SELECT {COLUMNS} FROM flats_clean WHERE {where} ORDER BY batch_id, row_index"
    with lab.store.clean.connect() as db:
        names, rows = COLUMNS.split(", "), [list(row) for row in db.execute(text(query))]
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    for name, read in (dates | flags).items():
        columns[name] = read(columns[name])
    frame = pd.DataFrame(columns)
    return frame.astype(dict.fromkeys(("area", "floor", "rent"), "float64"))


def gaps(rows: list[list], seed: int) -> list[list]:
    """Some values are missing in each column that may have none."""
    return [
        [value if at in (0, 5) or (number + at + seed) % 7 else None for at, value in enumerate(row)]
        for number, row in enumerate(rows)
    ]


@pytest.fixture
def three(lab, use_case, course) -> Lab:
    """A lab with three batches that are prepared; no district is known in the last one."""
    last = [[*row[:2], None, *row[3:]] for row in flats(60, seed=2)]
    batches = [gaps(flats(150), 0), gaps(flats(120, seed=1), 3), last]
    course.will_answer(*(batch(number, rows) for number, rows in enumerate(batches, 1)), END)
    for _ in batches:
        entry = land(lab, use_case)
        validate(lab, use_case, entry.id)
        prepare(lab, use_case, entry.id)
        lab.ledger.note(entry.id, state="done")
    return lab


@pytest.fixture
def said(trained, monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(trained, "progress", lines.append)
    return lines


READ = f"split <> '{SEALED}'"
TEST = "batch_id <= 2 AND split = 'test'"


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, READ),
        ({"split": "test", "until": 2}, TEST),
        ({"split": SEALED}, f"split = '{SEALED}'"),
        ({"after": 1, "until": 2}, f"batch_id = 2 AND {READ}"),
        ({"only": [1, 3]}, f"batch_id IN (1, 3) AND {READ}"),
        ({"without": [1, 2]}, f"batch_id = 3 AND {READ}"),
    ],
    ids=lambda value: ", ".join(value) or "all" if isinstance(value, dict) else "",
)
def test_a_frame_is_what_a_query_of_clean_data_gives(three, use_case, asked, where):
    frame, expected = three.snapshots.read(use_case, **asked), stored(three, where)
    assert len(frame) > 5
    pd.testing.assert_frame_equal(frame, expected)
    assert rows_digest(frame) == rows_digest(expected)
    some = ["rent", "batch_id", "district"]
    pd.testing.assert_frame_equal(three.snapshots.read(use_case, **asked, columns=some), expected[some])


def test_a_column_that_was_declared_later_has_no_value_and_one_of_before_is_left_out(three, use_case):
    changed = replace(use_case, features=[*use_case.features[:-1], Number("garden")])
    frame = three.snapshots.read(changed)
    assert frame["garden"].isna().all()
    assert frame["garden"].dtype == "float64"
    assert "built" not in frame
    pd.testing.assert_frame_equal(
        frame.drop(columns="garden"), three.snapshots.read(use_case).drop(columns="built")
    )


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["missing", "cut", "altered"])
def test_a_damaged_snapshot_is_refused_and_made_again(trained, use_case, said, fault):
    before, entry = trained.snapshots.read(use_case), trained.ledger.batch(1)
    object_ = trained.settings.home / "api-artifacts" / entry.snapshot
    content = object_.read_bytes()
    if fault == "missing":
        object_.unlink()
    else:
        object_.write_bytes(
            content[:-100] if fault == "cut" else content[:100] + bytes([content[100] ^ 1]) + content[101:]
        )
    pd.testing.assert_frame_equal(trained.snapshots.read(use_case), before)
    words = "is missing" if fault == "missing" else "is cut or altered: its digest is another one"
    assert said == [f"the snapshot of batch 1 ({entry.snapshot}) {words}; it is made again from CleanData"]
    assert object_.read_bytes() == content
    assert trained.ledger.batch(1) == entry
    assert reproduce(trained, use_case, 1).causes == []


def test_a_batch_of_an_earlier_release_gets_its_snapshot_when_it_is_read(trained, use_case, said):
    before = trained.ledger.batch(1)
    trained.artifacts.delete("snapshots")
    trained.ledger.note(1, snapshot=None, snapshot_digest=None)
    assert reproduce(trained, use_case, 1).causes == []
    assert said[0] == (
        "the snapshot of batch 1 is made from CleanData, for an earlier release prepared the batch"
    )
    after = trained.ledger.batch(1)
    assert (after.snapshot, after.snapshot_digest) == (before.snapshot, before.snapshot_digest)
    assert trained.artifacts.list("snapshots/flats") == [after.snapshot]
    said.clear()
    assert len(trained.snapshots.read(use_case)) > 500
    assert said == []


def test_an_account_that_may_only_read_the_databases_reads_the_same_rows(trained, use_case, tmp_path):
    """The notebooks of the stack have no right to the bucket, and none to write."""
    expected = trained.snapshots.read(use_case)
    trained.ledger.note(1, snapshot=None, snapshot_digest=None)
    home = trained.settings.home
    reader = Lab(
        Settings(
            home=tmp_path / "notebooks",
            use_cases=trained.settings.use_cases,
            raw_db_url=f"sqlite:///file:{home}/RawData.db?mode=ro&uri=true",
            clean_db_url=f"sqlite:///file:{home}/CleanData.db?mode=ro&uri=true",
        ),
        progress=lambda _: None,
    )
    pd.testing.assert_frame_equal(reader.snapshots.read(use_case), expected)
    assert trained.ledger.batch(1).snapshot is None


@pytest.mark.fault
def test_a_full_bucket_changes_nothing_and_the_next_run_prepares_the_batch_again(lab, use_case, course):
    course.will_answer(batch(1, flats(50)), END)
    entry = land(lab, use_case)
    validate(lab, use_case, entry.id)
    # A bucket that takes no further object.
    obstacle = lab.settings.home / "api-artifacts" / "snapshots"
    obstacle.touch()
    with pytest.raises(ArtifactError, match="the object store can't store snapshots/flats/1-") as raised:
        prepare(lab, use_case, entry.id)
    assert len(str(raised.value).splitlines()) == 1
    assert (lab.ledger.batch(1).state, lab.ledger.batch(1).clean, lab.store.count_clean(use_case)) == (
        "stored",
        None,
        0,
    )
    obstacle.unlink()
    prepare(lab, use_case, land(lab, use_case).id)
    assert (lab.ledger.batch(1).state, lab.ledger.batch(1).clean) == ("prepared", 50)
    assert len(lab.snapshots.read(use_case)) > 40


def test_a_batch_that_is_prepared_again_leaves_one_snapshot(three, use_case):
    first = three.ledger.batch(3)
    left = f"snapshots/flats/3-{'0' * 12}.parquet"
    three.artifacts.put(left, b"of a run that was killed")
    (three.settings.home / "api-artifacts" / f"{left}.7.part").touch()
    three.ledger.note(3, state="broken")
    assert retry(three, use_case) == 1
    cheaper = replace(use_case, clean=lambda frame: frame[frame["rent"] < 900])
    validate(three, cheaper, 3)
    prepare(three, cheaper, 3)
    again = three.ledger.batch(3)
    assert again.snapshot != first.snapshot
    folder = three.settings.home / "api-artifacts" / "snapshots" / "flats"
    batches = three.ledger.batches("flats")
    assert sorted(path.name for path in folder.iterdir()) == [b.snapshot.rpartition("/")[2] for b in batches]
    frame = three.snapshots.read(use_case, only=[3])
    assert frame["rent"].max() < 900
    assert change_clean(three, "DELETE FROM flats_clean WHERE rent < 500") > 0
    assert three.snapshots.read(use_case)["rent"].min() >= 500


def test_a_clean_function_that_makes_values_of_another_type_is_named(lab, use_case, course):
    course.will_answer(batch(1, flats(50)), END)
    entry = land(lab, use_case)
    halves = replace(use_case, clean=lambda frame: frame.assign(floor=frame["floor"] + 0.5))
    validate(lab, halves, entry.id)
    with pytest.raises(LabError, match="the clean function of flats makes values of floor that are no int64"):
        prepare(lab, halves, entry.id)
    assert lab.store.count_clean(use_case) == 0
