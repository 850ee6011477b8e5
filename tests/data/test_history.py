"""What a training reads is bounded by the use case: the newest rows, a window of batches, or whole groups."""

import itertools
from dataclasses import replace

import pytest

from mlops_lab import HistoryPolicy
from mlops_lab.contract import Contract
from mlops_lab.data.history import DIGITS, read_history
from mlops_lab.data.split import SPLITS
from mlops_lab.errors import ModelError
from mlops_lab.lab import Lab
from mlops_lab.loop import run_batch
from mlops_lab.model.card import card
from mlops_lab.model.lineage import rows_digest
from mlops_lab.steps.ingest import land, prepare, validate
from mlops_lab.steps.reproduce import reproduce
from mlops_lab.why import lines, why_version
from tests.support.data_api import END
from tests.support.flats import FLATS, batch, flats
from tests.support.labs import change_clean


def listings(n: int, seed: int) -> list[list]:
    """Rows of which three belong to one flat."""
    return [[*row[:4], f"{row[4][:-1]}{time}", row[5]] for row in flats(n // 3, seed) for time in range(3)]


@pytest.fixture
def four(lab, use_case, course) -> Lab:
    """A lab with four batches that are prepared; nothing is left of the second one."""
    sizes = (240, 30, 180, 90)
    course.will_answer(*(batch(at, listings(rows, seed=at)) for at, rows in enumerate(sizes, 1)), END)
    for _ in sizes:
        entry = land(lab, use_case)
        validate(lab, use_case, entry.id)
        prepare(lab, use_case, entry.id)
        lab.ledger.note(entry.id, state="done")
    change_clean(lab, "DELETE FROM flats_clean WHERE batch_id = 2")
    return lab


# Policy, the batches that are read, and of these the number of the newest rows; None: all.
NEWEST = [
    (HistoryPolicy(), [1, 3, 4], None),
    (HistoryPolicy(batches=2), [3, 4], None),
    (HistoryPolicy(batches=9, rows=10_000), [1, 3, 4], None),
    (HistoryPolicy(rows=100), [3, 4], 100),
    (HistoryPolicy(batches=3, rows=300), [1, 3, 4], 300),
    (HistoryPolicy(batches=1, rows=10_000, choose="sample"), [4], None),
]


def test_the_newest_rows_are_read_as_they_are_in_the_whole_history(four, use_case, monkeypatch):
    digest = rows_digest(four.snapshots.read(use_case))
    monkeypatch.setattr("mlops_lab.model.lineage.DIGEST_ROWS", 50)
    assert rows_digest(four.snapshots.read(use_case)) == digest
    for split_day, (policy, batches, rows) in itertools.product((None, "built"), NEWEST):
        declared = replace(use_case, split_day=split_day, history=policy)
        whole = four.snapshots.read(declared)
        expected = whole[whole["batch_id"].isin(batches)]
        expected = (expected if rows is None else expected.tail(rows)).reset_index(drop=True)
        found = read_history(four.snapshots, declared)
        assert found.frame.equals(expected), (split_day, policy)
        assert found.batches == [1, 3, 4]
        assert found.unread == [number for number in (1, 3, 4) if number not in batches]
        out = whole["split"].value_counts().sub(expected["split"].value_counts(), fill_value=0)
        assert found.left_out == {split: count for split, count in out.items() if count}
        assert bool(found.words) == (len(expected) < len(whole))


def test_a_sample_has_whole_groups_by_their_hash_alone(four, use_case):
    whole = four.snapshots.read(use_case)
    samples = {}
    for rows in (150, 300):
        declared = replace(use_case, history=HistoryPolicy(rows=rows, choose="sample"))
        found = read_history(four.snapshots, declared)
        # As many as fit: the next group has three rows.
        assert rows - 3 < len(found.frame) <= rows
        assert len(found.frame) + sum(found.left_out.values()) == len(whole)
        chosen = set(found.frame["group_hash"])
        assert found.frame.equals(whole[whole["group_hash"].isin(chosen)].reset_index(drop=True))
        others = set(whole["group_hash"]) - chosen
        # So another order of the batches gives the same sample.
        assert max(group[DIGITS] for group in chosen) < min(group[DIGITS] for group in others)
        assert set(found.frame["split"]) == set(SPLITS)
        samples[rows] = chosen
    assert samples[150] < samples[300]
    # The sample of a window is of its rows alone.
    declared = replace(use_case, history=HistoryPolicy(batches=2, rows=150, choose="sample"))
    found = read_history(four.snapshots, declared)
    assert (found.unread, set(found.frame["batch_id"])) == ([1], {3, 4})
    # A group that is greater than the sample.
    change_clean(four, f"UPDATE flats_clean SET group_hash = '{'a' * 32}'")
    with pytest.raises(ModelError, match="flats: a sample of 150 rows has no room for a whole group; allow"):
        read_history(four.snapshots, declared)


@pytest.mark.usefixtures("without_pictures")
def test_the_loop_keeps_to_it_says_so_and_counts_no_left_out_row_as_new(lab, course, tmp_path):
    cases = tmp_path / "use_cases"
    cases.mkdir()
    text = FLATS.replace("candidates=[linear_regression(), ridge()]", "candidates=[linear_regression()]")
    text = text.replace("metric=RMSE,", "metric=RMSE,\n    history=HistoryPolicy(batches=1, rows=400),")
    (cases / "flats.py").write_text(text.replace("UseCase, linear", "UseCase, HistoryPolicy, linear"))
    said: list[str] = []
    lab = Lab(lab.settings.model_copy(update={"use_cases": cases}), progress=said.append)
    use_case = lab.use_case("flats")
    old, new, same = flats(600, seed=1), flats(900, seed=2, level=14), flats(100, seed=3)
    course.will_answer(batch(1, old), batch(2, new), batch(3, [*old[:200], *new[:200], *same]), END)
    run_batch(lab, use_case)
    assert (second := run_batch(lab, use_case).outcome).promoted
    assert second.version == 2
    stored = len(lab.snapshots.read(use_case))
    assert (
        f"the trainings read 400 rows of {stored:,}: at most 400 rows, the newest, of the newest batch"
        in said
    )

    contract = Contract.load(lab.model_folder(lab.registry.version("flats", 2)))
    lineage = contract.lineage
    assert (lineage.batches, lineage.unread, lineage.history) == ([1, 2], [1], use_case.history)
    assert (sum(lineage.rows.values()), sum(lineage.left_out.values())) == (400, stored - 400)
    out = f"{stored - 400:,} of {stored:,} stored rows were left out."
    words = f"It read at most 400 rows, the newest, of the newest batch: {out}"
    assert words in card(contract)
    assert f"  {words}" in lines(why_version(lab, use_case, 2))
    # The policy of the time counts, not today's.
    found = reproduce(lab, replace(use_case, history=HistoryPolicy()), 2)
    assert (found.same, found.causes) == (True, [])

    # Of the other groups, the rows were left out or learnt from: they are known.
    reason = run_batch(lab, use_case).reason
    fresh = len(lab.snapshots.read(use_case, only=[3]))
    assert fresh < 100
    assert reason == f"19% of its groups are new, {fresh} new rows since the champion, nothing drifted"
