"""`lab new`, `lab check` and `lab quarantine`: a use case from a person's own file, whatever kind of table it is."""

import json
import random
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from typer.testing import CliRunner, Result

from mlops_lab.cli import app
from mlops_lab.settings import REPOSITORY
from mlops_lab.use_case import UseCase, get_use_case
from tests.support.data_api import END
from tests.support.flats import FLATS, batch, flats

LINES = 80


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Calls `lab` for a home that isn't there yet, with no use case."""
    (tmp_path / "use_cases").mkdir()
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    monkeypatch.setenv("LAB_USE_CASES", str(tmp_path / "use_cases"))

    def call(*arguments: str, status: int = 0) -> Result:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == status, (done.output, done.exception)
        return done

    return call


@pytest.fixture
def home(tmp_path, templates, without_pictures):
    templates.copy_empty(tmp_path / "lab")


@pytest.fixture
def made(tmp_path):
    return lambda name: get_use_case(tmp_path / "use_cases", name)


def words(done: Result) -> str:
    """What a command printed, without the places where a table's lines break."""
    return " ".join(done.stdout.split())


def shops(n: int = 400) -> pd.DataFrame:
    """Visits of customers: each has several rows; an id, a constant, sentences, dates in two forms, codes, gaps."""
    some = random.Random(0)
    days = [date(2023, 1, 1) + timedelta(days=i % 300) for i in range(n)]
    customers = [10_000 + some.randrange(n // 4) for _ in range(n)]
    frame = pd.DataFrame(
        {
            "VisitId": range(1, n + 1),
            "customer_nbr": customers,
            "day": [day.isoformat() for day in days],
            "day_eu": [day.strftime("%d/%m/%Y") for day in days],
            "zip": [some.choice(["01001", "90210", "00501"]) for _ in range(n)],
            "shop": [some.choice(["north", "south", "harbour"]) for _ in range(n)],
            "card": [some.choice(["true", "false"]) for _ in range(n)],
            "currency": "EUR",
            "items": [str(some.randint(1, 30)) for _ in range(n)],
            "note": [
                f"a sentence of somebody about visit {i}, which nobody will ever read" for i in range(n)
            ],
            "spent": [round(float(np.exp(some.gauss(3, 1))), 2) for _ in range(n)],
        }
    )
    frame.loc[::20, "items"] = "NA"
    return frame


def plain(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False)


# Ten tables: how each is written, its target, and what of it the use case must have.
TABLES = {
    "wine.csv": (lambda p: plain(load_wine(as_frame=True).frame, p), "target", "multiclass"),
    "iris.parquet": (lambda p: load_iris(as_frame=True).frame.to_parquet(p), "target", "multiclass"),
    "breast cancer.csv": (
        lambda p: load_breast_cancer(as_frame=True).frame.to_csv(p, sep=";", decimal=",", index=False),
        "target",
        "binary",
    ),
    "shops.csv.gz": (lambda p: plain(shops(), p), "spent", "regression"),
    "latin.csv": (
        lambda p: shops().assign(shop="señal", ort=["añil", "öl"] * 200).to_csv(p, encoding="cp1252"),
        "spent",
        "regression",
    ),
    "utf16.tsv": (
        lambda p: shops().to_csv(p, sep="\t", encoding="utf-16", index=False),
        "spent",
        "regression",
    ),
    "bars.txt": (lambda p: shops().to_csv(p, sep="|", index=False), "shop", "multiclass"),
    "wide.csv": (
        lambda p: plain(
            pd.DataFrame(np.random.default_rng(0).normal(size=(200, 201)).round(3)).add_prefix("f"), p
        ),
        "f200",
        "regression",
    ),
    "yes no.csv": (lambda p: plain(shops().assign(back=["yes", "no"] * 200), p), "back", "binary"),
    "many.csv": (
        lambda p: plain(pd.concat([shops(2_000).assign(**{f"c{i}": "x", f"d{i}": i}) for i in range(5)]), p),
        "spent",
        "regression",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_becomes_a_use_case_that_takes_its_rows(name, lab, made, tmp_path):
    write, target, task = TABLES[name]
    write(tmp_path / name)
    said = lab("new", str(tmp_path / name), "--target", target).stdout
    use_case: UseCase = made(Path(name.replace(" ", "_")).name.partition(".")[0])
    assert (use_case.target.name, use_case.task) == (target, task)
    assert ": 0 to quarantine" in said
    stored = pd.read_csv(tmp_path / "lab" / "data" / f"{use_case.name}.csv", dtype=str)
    assert {column.name for column in use_case.columns} <= set(stored.columns)


@pytest.mark.process
def test_the_files_are_short_and_tidy(lab, tmp_path):
    for name, (write, target, _) in TABLES.items():
        write(tmp_path / name)
        lab("new", str(tmp_path / name), "--target", target)
    files = list((tmp_path / "use_cases").glob("*.py"))
    assert len(files) == len(TABLES)
    assert all(len(file.read_text().splitlines()) <= LINES for file in files)
    for rules in (["format", "--diff"], ["check"]):
        ruff = [sys.executable, "-m", "ruff", *rules, "--config", REPOSITORY / "pyproject.toml", *files]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_each_column_is_what_its_values_are(lab, made, tmp_path):
    plain(shops(), tmp_path / "shops.csv")
    said = words(lab("new", str(tmp_path / "shops.csv"), "--target", "spent"))
    use_case = made("shops")
    kinds = {feature.name: feature.type for feature in use_case.features}
    assert kinds == {
        "day": "date",
        "zip": "category",
        "shop": "category",
        "card": "boolean",
        "items": "integer",
    }
    assert [column.name for column in use_case.extra] == list(use_case.group_key) == ["customer_nbr"]
    assert use_case.missing == ["NA"]
    assert next(f for f in use_case.features if f.name == "zip").width == 5
    assert use_case.metric.name == "rmse_log"
    assert all(candidate.log_target for candidate in use_case.candidates)
    for line in (
        "every row has its own number: an id",
        "the same value in every row",
        "its dates look like 01/01/2023; the lab reads dates like 2024-01-31",
        "sentences; the lab learns from numbers, categories and dates",
        "the group key customer_nbr: ",
    ):
        assert line in said
    text = (tmp_path / "use_cases" / "shops.py").read_text()
    assert "  # 1 to 30; 5% missing" in text

    again = ("new", str(tmp_path / "shops.csv"), "--target", "spent", "--name", "again", "--json")
    found = json.loads(lab(*again).stdout)
    assert (found["features"], found["group_key"]) == (kinds, ["customer_nbr"])
    assert found["left_out"]["currency"] == "the same value in every row"
    assert (found["rows"], Path(found["file"]).name) == (400, "again.py")


@pytest.mark.parametrize(("rows", "said"), [(60, True), (900, False)])
def test_few_rows_are_said(lab, tmp_path, rows, said):
    content = "a,y\n" + "".join(f"{i % 37},{i * 1.5}\n" for i in range(rows))
    (tmp_path / "mine.csv").write_text(content)
    done = lab("new", str(tmp_path / "mine.csv"), "--target", "y")
    assert (f"{rows} rows are few: a score on so few test rows is rough" in words(done)) is said


def test_a_person_decides_otherwise(lab, made, tmp_path):
    plain(load_wine(as_frame=True).frame, tmp_path / "wine.csv")
    options = ["--name", "grapes", "--task", "regression", "--leave-out", "hue", "--group", "proline"]
    lab("new", str(tmp_path / "wine.csv"), "--target", "target", *options)
    use_case = made("grapes")
    assert use_case.task == "regression"
    assert use_case.group_key == ["proline"]
    assert "hue" not in {feature.name for feature in use_case.columns}


def test_hostile_names_and_values_stay_texts(lab, made, tmp_path):
    odd = 'a"b\'; import os\n"""'
    frame = (
        shops()
        .rename(columns={"shop": odd, "items": "1st, {x}"})
        .assign(kind=['x"""\ny', "\\", "#"] * 133 + ["#"])
    )
    plain(frame, tmp_path / 'no"""te.csv')
    lab("new", str(tmp_path / 'no"""te.csv'), "--target", "spent", "--name", "odd")
    assert {odd, "1st, {x}", "kind"} <= {feature.name for feature in made("odd").features}


@pytest.mark.parametrize(
    ("content", "target", "fault"),
    [
        ("", "y", "mine.csv is empty"),
        ("a,y\n", "y", "mine.csv has no rows"),
        ("a,y\n" + "1,2\n" * 20, "y", "mine.csv has 20 rows; it takes about 50"),
        ("a,y\n" + "1,2\n" * 60, "y", "y has 2 to 2: the same value in every row"),
        ("a,y\n" + "1,2\n" * 60, "z", "mine.csv has no column 'z'; it has a, y"),
        ("a,a,y\n" + "1,2,3\n" * 60, "y", "names two columns a; rename one"),
        ("a,,y\n" + "1,2,3\n" * 60, "y", "column 2 has no name"),
        ("1,2\n" + "1,2\n" * 60, "1", "numbers in its first line"),
        (
            "a,y\n" + "1,2\n" * 60 + "1,2,3\n",
            "y",
            "line 62 has 3 values, and the header names 2 columns; repair",
        ),
        ("a,y\n" + "1,2\n" * 60 + "1\n", "y", "line 62 has 1 value, and the header names 2 columns; repair"),
        ("a,y\n" + "".join(f"1,text {i}\n" for i in range(90)), "y", "y has 90 different texts"),
        ("a,y\n" + "".join(f"1,{i}\n" for i in range(90)), "y", "no column to learn from (a: the same value"),
        ("a,y\n" + "1,\x00\n" * 60, "y", "mine.csv isn't a text file"),
        (
            "a,batch_id\n" + "".join(f"{i},{i * 1.5}\n" for i in range(90)),
            "batch_id",
            "the lab itself needs the name",
        ),
        ("a,y\n" + "".join(f"{i},2020-01-{i % 28 + 1:02}\n" for i in range(90)), "y", "y is a date"),
    ],
    ids=lambda value: value if len(value) < 60 and "\n" not in value else "",
)
def test_a_file_that_gives_no_use_case_says_why_and_leaves_nothing(content, target, fault, lab, tmp_path):
    (tmp_path / "mine.csv").write_text(content)
    assert fault in lab("new", str(tmp_path / "mine.csv"), "--target", target, status=1).stderr
    assert not list((tmp_path / "use_cases").glob("*.py"))
    assert not (tmp_path / "lab" / "data").exists()


def test_data_that_cannot_be_kept_leaves_no_use_case(lab, tmp_path):
    plain(load_iris(as_frame=True).frame, tmp_path / "iris.csv")
    (tmp_path / "lab").write_text("no folder")
    fault = lab("new", str(tmp_path / "iris.csv"), "--target", "target", status=1).stderr
    assert fault.startswith("error: ")
    assert len(fault.splitlines()) == 1
    assert not list((tmp_path / "use_cases").glob("*.py"))


def test_nothing_that_is_there_is_overwritten(lab, tmp_path):
    plain(load_iris(as_frame=True).frame, tmp_path / "iris.csv")
    lab("new", str(tmp_path / "iris.csv"), "--target", "target")
    again = lab("new", str(tmp_path / "iris.csv"), "--target", "target", status=1).stderr
    assert "the use case iris exists already; choose another name by --name" in again
    (tmp_path / "use_cases" / "iris.py").unlink()
    again = lab("new", str(tmp_path / "iris.csv"), "--target", "target", status=1).stderr
    assert "iris.csv exists already; remove it" in again
    taken = lab(
        "new", str(tmp_path / "iris.csv"), "--target", "target", "--name", "diabetes_2", status=1
    ).stderr
    assert "would replace the data set diabetes" in taken
    assert "there is no file" in lab("new", str(tmp_path / "no.csv"), "--target", "y", status=1).stderr


@pytest.mark.process
def test_the_drafted_use_case_is_checked_and_trained(lab, home, tmp_path):
    plain(load_iris(as_frame=True).frame.sample(frac=1, random_state=0), tmp_path / "iris.csv")
    lab("new", str(tmp_path / "iris.csv"), "--target", "target")
    assert "150 rows: 0 to quarantine; clean: " in lab("check", "iris").stdout
    file = tmp_path / "use_cases" / "iris.py"
    text = file.read_text().replace("maximum=20),  # 4.3 to 7.9", "maximum=7),  # 4.3 to 7.9")
    file.write_text(text)
    found = json.loads(lab("check", "iris", "--json").stdout)
    assert found["quarantined"] == found["broken"][0]["rows"] == 12
    assert found["broken"][0]["message"].startswith("must be at most 7, not 7.")
    said = lab("run", "iris").stdout
    assert "first champion, accuracy" in said
    assert "quarantined: sepal length (cm) must be at most 7, not 7." in said
    assert "(12 rows)" in said
    assert (
        "end of the data: group 1 has received all 1 batches of iris (`lab reset iris` would remove" in said
    )
    assert "maximum must be at most 7, not 7." in words(lab("quarantine", "iris"))
    file.write_text(text.replace("minimum=0, maximum=5", "minimum=4, maximum=5"))
    assert "every row of iris would go to quarantine" in lab("check", "iris", status=1).stderr


def test_a_run_that_learns_nothing_fails_and_says_why(lab, home, course, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA_API_URL", course.url)
    (tmp_path / "use_cases" / "flats.py").write_text(FLATS)
    (tmp_path / "use_cases" / "a.py").write_text(FLATS)
    (tmp_path / "use_cases" / "broken.py").write_text("x = (")
    course.will_answer(batch(1, [[row[0], "high", "north", "maybe", "2020", -1] for row in flats(200)]), END)
    done = lab("run", "flats", status=1)
    for line in (
        "floor must be a number, not 'high' (200 rows)",
        "balcony must be true or false, not 'maybe'",
    ):
        assert f"quarantined: {line}" in done.stdout
    assert "quarantined: 1 more; `lab quarantine flats` lists them" in done.stdout
    assert "error: flats has no champion; the lines above say why" in done.stderr
    for said in (done.stderr, lab("status").stderr):
        assert "a.py can't be used: flats.py declares the use case flats, too; remove one of both" in said
        assert "broken.py can't be used: SyntaxError" in said


def test_the_quarantine_of_one_batch_is_listed(lab, home, course, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_DATA_API_URL", course.url)
    (tmp_path / "use_cases" / "flats.py").write_text(FLATS)
    rows = flats(400)
    course.will_answer(batch(1, [[1, *rows[0][1:]], *rows[1:]]), batch(2, flats(50, seed=2)), END)
    lab("run", "flats")
    assert "area minimum must be at least 5, not 1" in words(lab("quarantine", "flats", "--batch", "1"))
    assert lab("quarantine", "flats", "--batch", "2").stdout == "no row is in quarantine\n"
    assert "flats has no batch 9 yet" in lab("quarantine", "flats", "--batch", "9", status=1).stderr
