"""The benches of `make bench-scale` at the smallest size: what they compare is equal, and each has its place."""

import importlib
import json
import re
from types import ModuleType

import pytest
from sqlalchemy import select

from mlops_lab.data.database import connect
from mlops_lab.settings import REPOSITORY
from tests.stack import figures

PAGE = (REPOSITORY / "docs" / "scale.md").read_text()
PARTS = re.findall(r"<!-- written by make bench-scale PART=(\w+) FULL=1 -->", PAGE)


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


def test_the_parts_of_the_makefile_are_on_the_page_and_each_has_its_program():
    makefile = (REPOSITORY / "Makefile").read_text()
    by_default = re.search(r"^SCALE_PARTS := (.+)$", makefile, re.MULTILINE)[1].split()
    assert set(by_default) <= set(PARTS)
    for part in PARTS:
        assert (REPOSITORY / "bench" / f"{part}.py").exists()
        assert f"`make bench-scale PART={part} FULL=1`" in PAGE


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


@pytest.mark.slow
def test_the_bench_of_ingest_takes_a_batch_of_the_market_through_the_steps(bench, tmp_path, capfd):
    ingest: ModuleType = bench("ingest")
    ingest._write(tmp_path / "some.json", 300)
    found = ingest._one(tmp_path / "some.json")
    assert all(found[step] > 0 for step in ingest.STEPS)
    assert "300 rows received" in capfd.readouterr().err
    assert len(list(ingest._table({300: [found]}))) == 5


def test_what_saturates_first_follows_from_the_measured_growth(bench):
    growth: ModuleType = bench("growth_page")
    sizes, before = [1_000, 30_000, 100_000, 300_000, 1_000_000], 500.0

    def grown(start: float, factor: float, power: float) -> list[float]:
        return [start, *(start + factor * n**power for n in sizes[1:])]

    zeros = [0.0] * len(sizes)
    # Memory of training grows with the rows, that of validation with their root, that of promotion hardly.
    steps = {
        "validate": growth.Step(grown(5, 1e-5, 1), zeros, grown(30, 0.1, 0.5), before),
        "train": growth.Step(grown(10, 2e-5, 1), zeros, grown(100, 1e-3, 1), before),
        "promote": growth.Step([7.0] * 5, zeros, [40.0, 41, 39, 40, 42], before),
    }
    text = "\n".join(growth.lines(sizes, steps, [550.0, 560, 600, 700, 1_000]))
    # 22 s, and 3e-5 seconds a row.
    assert re.search(r"\| \*\*all\*\* .*\| 1\.00 \| \*5\.4 min\* \| \*50 min\* \|", text)
    assert re.search(r"\| validate .*\| 0\.50 \| \*346 MiB\* \| \*1\.0 GiB\* \|", text)
    assert "| **the process, at its peak** | 550 | 560 | 600 | 700 | 1,000 |" in text
    assert re.search(r"\| promote .* 42 \| – \| \*42 MiB\* \| \*42 MiB\* \|", text)
    rows = (growth.worker_limit() - before - 100) / 1e-3
    assert f"**train**, at about {float(f'{rows:.1e}'):,.0f} rows, with the 500 MiB" in text
    assert "a day at about 2,900,000,000 rows" in text


def test_noise_is_not_extrapolated(bench):
    growth: ModuleType = bench("growth_page")
    sizes = [10_000, 30_000, 100_000, 300_000, 1_000_000]
    # The middle size took least, so what is on top of it has no power of its own.
    steep = growth.law(sizes, [223.0, 220, 215, 175, 376])
    assert steep.power <= growth.STEEPEST
    assert steep.at(1_000_000) == pytest.approx(376)
    assert steep.at(10_000_000) < 4_000
    # What falls towards the largest size doesn't grow.
    assert growth.law(sizes, [10.0, 20, 90, 80, 70]).at(100_000_000) == 90


def test_a_small_run_is_not_extrapolated(bench):
    growth: ModuleType = bench("growth_page")
    steps = {"train": growth.Step([1.0, 2.0], [1.0, 2.0], [10.0, 20.0], 500.0)}
    text = "\n".join(growth.lines([5_000, 10_000], steps, [510.0, 520.0]))
    assert "| train | 1.0 (1.0) | 2.0 (2.0) |" in text
    assert "10,000,000" not in text
    assert "Too few rows" in text


def test_the_tables_of_a_loop_have_every_service_of_the_cluster(bench, monkeypatch):
    cluster, tables = bench("cluster"), bench("loop_tables").tables
    pods = {"airflow-init-cgvc6": 30, "airflow-worker-798fbbdcf8-g2dtn": 900, "mysql-init-68kwg": 5}
    found = [
        {"podRef": {"name": name, "namespace": "mlops-lab"}, "memory": {"workingSetBytes": mib * 2**20}}
        for name, mib in pods.items()
    ]
    nodes = cluster.Cluster.__new__(cluster.Cluster)
    answers = iter([json.dumps({"pods": found}), *['{"pods": []}'] * 2])
    monkeypatch.setattr(nodes, "kubectl", lambda *_: next(answers), raising=False)
    watch = figures.MemoryWatch(dict)
    for service, size in nodes.memory().items():
        watch.samples[service].append((1.5, size))
    steps = [figures.Step(1, name, 1, 2, 0.5, 0.2) for name in figures.ORDER]
    text = "\n".join(tables(steps, [[100]], watch, cluster._limits()))
    assert "| land | 0.5 | 0.5 | 0.2 | 900 |" in text
    assert "| 1 | 100 | 1 |" in text
    for line in ("airflow-worker | 900 | 2,560", "airflow-init | 30 | 1,024", "mysql-init | 5 | 64"):
        assert f"| {line} |" in text
