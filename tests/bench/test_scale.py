"""The benches of `make bench-scale` at the smallest size: what they compare is equal, and each has its place."""

import importlib
import re
from types import ModuleType

import pytest
from sqlalchemy import select

from mlops_lab.data.database import connect
from mlops_lab.settings import REPOSITORY

PARTS = re.search(r"^SCALE_PARTS := (.+)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)[1].split()


@pytest.fixture
def bench(monkeypatch):
    """A module of bench/, which isn't a package: its files are programs."""
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    return importlib.import_module


@pytest.mark.parametrize("variant", ["mixed", "texts", "dates"])
def test_every_way_of_a_bulk_load_stores_the_same(bench, tmp_path, variant):
    ways: ModuleType = bench("bulk_ways")
    frame = ways.rows(variant, 40)
    target, engine = ways.table(frame), connect(f"sqlite:///{tmp_path}/rows.db")
    found = set()
    for name in ways.SQLITE_WAYS:
        target.drop(engine, checkfirst=True)
        target.create(engine)
        ways.way(name, engine, target, frame, tmp_path)()
        with engine.connect() as db:
            found.add(str(ways.contents(list(db.execute(select(target).order_by(target.c.key))))))
    assert found == {str(ways.contents([tuple(record.values()) for record in ways.records(frame)]))}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_writes_its_own_section_of_the_page(bench, tmp_path, monkeypatch, part):
    page: ModuleType = bench("scale_page")
    before, copy = page.PAGE.read_text(), tmp_path / "scale.md"
    copy.write_text(before)
    monkeypatch.setattr(page, "PAGE", copy)
    page.report(part, ["nothing"], full=False)
    assert copy.read_text() == before
    for lines in (["first"], ["the new table"]):
        page.report(part, lines, full=True)
    head, _, rest = copy.read_text().partition(f"PART={part} FULL=1 -->")
    assert before.startswith(head)
    written, end, tail = rest.partition(f"<!-- end of {part} -->")
    assert "the new table" in written
    assert "first" not in written
    assert tail == before.partition(end)[2] != ""
    with pytest.raises(ValueError, match="no place for another"):
        page.report("another", [], full=True)


def test_what_saturates_first_follows_from_the_measured_growth(bench):
    growth: ModuleType = bench("growth")
    sizes = [1_000, 10_000, 100_000, 1_000_000]
    before = 500.0
    # Memory of training grows with the rows, that of validation with their root. Small sizes are mostly start-up.
    steps = {
        "validate": growth.Step(
            [5, *(1e-5 * n for n in sizes[1:])], [0] * 4, [0.1 * n**0.5 for n in sizes], before
        ),
        "train": growth.Step([9, *(2e-5 * n for n in sizes[1:])], [0] * 4, [1e-3 * n for n in sizes], before),
    }
    text = "\n".join(growth.lines(sizes, steps))
    # 3e-5 seconds a row in all.
    assert re.search(r"\*\*all\*\* .*\| 1\.00 \| \*5\.0 min\* \| \*50 min\* \|", text)
    assert re.search(r"\| validate .*\| 0\.50 \| \*316 MiB\* \| \*1,000 MiB\* \|", text)
    limit = growth.worker_limit()
    assert f"**train**, at about {float(f'{(limit - before) / 1e-3:.1e}'):,.0f} rows" in text
    assert "a day at about 2,900,000,000 rows" in text
