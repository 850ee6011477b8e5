"""Tables of an earlier release or of an earlier declaration, brought to today's without losing a value."""

import importlib.util
import io
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import inspect, text
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from mlops_lab import Category, Integer, Number
from mlops_lab.data.database import StoreError, connect
from mlops_lab.data.migrate import MIGRATIONS, NEWEST, migrate
from mlops_lab.data.store import Store
from mlops_lab.data.tables import RAW
from mlops_lab.loop import run_batch
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")

RELEASE_1 = (Path(__file__).parent / "release_1.sql").read_text()


def rows_of(path: Path) -> dict[str, list[dict]]:
    """The rows of the lab's own tables that are there, by table."""
    with sqlite3.connect(path) as db:
        db.row_factory = sqlite3.Row
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master")} & set(RAW.tables)
        return {name: [dict(row) for row in db.execute(f"SELECT * FROM {name}")] for name in there}


def differences(engine) -> list:
    with engine.connect() as db:
        context = MigrationContext.configure(
            db, opts={"include_name": lambda name, kind, _: kind != "table" or name in RAW.tables}
        )
        return compare_metadata(context, RAW)


@pytest.fixture
def earlier(trained) -> Path:
    """RawData of the trained lab with the tables of release 1.0, and the values that these tables can hold."""
    trained.store.raw.dispose()
    path = trained.settings.home / "RawData.db"
    rows = rows_of(path)
    with sqlite3.connect(path) as db:
        for name in ("alembic_version", *rows):
            db.execute(f"DROP TABLE {name}")
        db.executescript(RELEASE_1)
        for name, entries in ((name, entries) for name, entries in rows.items() if entries):
            columns = [column for _, column, *_ in db.execute(f"PRAGMA table_info({name})")]
            values = [[entry[column] for column in columns] for entry in entries]
            marks, quoted = ", ".join("?" * len(columns)), ", ".join(f'"{column}"' for column in columns)
            db.executemany(f"INSERT INTO {name} ({quoted}) VALUES ({marks})", values)
    db.close()
    return path


def test_a_new_database_has_the_newest_revision_and_is_not_changed_again(tmp_path):
    engine = connect(f"sqlite:///{tmp_path}/raw.db")
    assert migrate(RAW, engine) is None
    assert differences(engine) == []
    with engine.connect() as db:
        assert db.scalar(text("SELECT version_num FROM alembic_version")) == NEWEST


def test_data_of_release_1_is_kept_and_the_loop_goes_on(trained, use_case, course, earlier):
    before = rows_of(earlier)
    assert before["batches"]
    assert before["models"]
    assert migrate(RAW, trained.store.raw) == "0001" or NEWEST == "0001"
    assert differences(trained.store.raw) == []
    for name, rows in rows_of(earlier).items():
        assert [
            {key: row[key] for key in old} for old, row in zip(before.get(name, []), rows, strict=True)
        ] == before.get(name, [])
    assert migrate(RAW, trained.store.raw) is None
    course.will_answer(batch(2, flats(600, seed=4)), END)
    assert run_batch(trained, use_case).outcome is not None
    assert [entry.batch_number for entry in trained.ledger.batches("flats")] == [1, 2]
    assert len(trained.ledger.promotions("flats")) == len(before["promotions"]) + 1


def test_on_mysql_figures_keep_their_digits_and_times_their_milliseconds(monkeypatch):
    for table in RAW.tables.values():
        ddl = str(CreateTable(table).compile(dialect=mysql.dialect()))
        assert not re.search(r" FLOAT| DATETIME(?!\(3\))", ddl), ddl
    file = next(MIGRATIONS.glob("versions/0002_*.py"))
    found = importlib.util.spec_from_file_location("revision", file)
    revision = importlib.util.module_from_spec(found)
    found.loader.exec_module(revision)

    class Earlier:
        """What MySQL says about one table of release 1.0."""

        has_table = "promotions".__eq__

        @staticmethod
        def get_columns(table):
            kinds = {
                "decided_at": mysql.DATETIME(),
                "challenger_score": mysql.FLOAT(),
                "challenger": mysql.INTEGER(),
            }
            return [
                {"name": name, "type": kind, "nullable": name == "challenger_score", "comment": None}
                for name, kind in kinds.items()
            ]

    monkeypatch.setattr(revision, "inspect", lambda _: Earlier)
    buffer = io.StringIO()
    context = MigrationContext.configure(dialect_name="mysql", opts={"as_sql": True, "output_buffer": buffer})
    with Operations.context(context):
        revision.upgrade()
    changes = [" ".join(line.split()) for line in buffer.getvalue().splitlines() if line]
    assert changes[1:] == [
        "ALTER TABLE promotions CHANGE decided_at decided_at DATETIME(3) NOT NULL;",
        "ALTER TABLE promotions MODIFY challenger_score DOUBLE NULL;",
    ]
    assert changes[0].startswith("ALTER TABLE batches ADD COLUMN attempts INTEGER NOT NULL")
    assert changes[0].endswith("DEFAULT '0';")


def test_a_database_of_a_newer_release_is_refused_and_left_alone(trained):
    with trained.store.raw.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="revision 9999, made by a newer release"):
        trained.store.create_tables()


def test_processes_that_start_together_make_the_tables_once(tmp_path):
    def start(_):
        return Store(f"sqlite:///{tmp_path}/raw.db", f"sqlite:///{tmp_path}/clean.db").create_tables()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(start, range(4))) == [None] * 4
    assert differences(connect(f"sqlite:///{tmp_path}/raw.db")) == []


def test_a_new_feature_is_a_new_column_and_the_next_batch_trains_with_it(trained, use_case, course):
    features = [*use_case.features, Integer("rooms", minimum=0)]
    changed = replace(use_case, features=features)
    course.will_answer(
        batch(2, [[*row[:5], 3, row[5]] for row in flats(600, seed=4)]),
        END,
    )
    lines: list[str] = []
    trained.progress = lines.append
    assert run_batch(trained, changed).outcome is not None
    assert "table flats_raw has the new column rooms; earlier rows have no value in it" in lines
    with trained.store.raw.connect() as db:
        counts = db.execute(
            text("SELECT batch_id, count(rooms), count(*) FROM flats_train GROUP BY batch_id")
        )
        (_, none, old), (_, all_, new) = counts
    assert none == 0 < old
    assert all_ == new > 0
    assert trained.store.prepare_tables(changed) == []


def test_a_feature_that_is_no_longer_declared_keeps_its_column(trained, use_case):
    changed = replace(use_case, features=use_case.features[:-1])
    assert trained.store.prepare_tables(changed) == []
    assert trained.store.undeclared(changed) == [
        f"table {table} keeps the column built, which flats doesn't declare any more"
        for table in ("flats_raw", "flats_clean")
    ]
    names = {column["name"] for column in inspect(trained.store.clean).get_columns("flats_clean")}
    assert "built" in names


@pytest.mark.parametrize("feature", [Category("area", allow_unknown=True), Integer("area")])
def test_another_type_is_refused_before_anything_is_changed(trained, use_case, feature):
    changed = replace(
        use_case, features=[feature, *use_case.features[1:], Number("rooms")], group_key=["floor"]
    )
    with pytest.raises(StoreError, match=r"column area of flats_clean has type DOUBLE.*lab reset flats"):
        trained.store.prepare_tables(changed)
    names = {column["name"] for column in inspect(trained.store.raw).get_columns("flats_raw")}
    assert "rooms" not in names
