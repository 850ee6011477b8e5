"""The page Own data: a table becomes a drafted use case, and where the page may write, its two files."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from mlops_lab.settings import REPOSITORY
from mlops_lab.use_case import get_use_case

ODD = 'a"b\'\r\n""" [x](//e.example) <b>:red[x]'


def table() -> pd.DataFrame:
    """Visits of patients: an id, a group key, a hostile column, a constant, and what is to be predicted."""
    n = 300
    return pd.DataFrame(
        {
            "visit_id": range(1, n + 1),
            "patient_nbr": [1000 + i % 90 for i in range(n)],
            ODD: [f"{i % 4}{ODD}" for i in range(n)],
            "same": ODD,
            "age": [20 + i % 60 for i in range(n)],
            "cost": [round(3.5 * (i % 60) + i % 7, 2) for i in range(n)],
        }
    )


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Opens the page with these settings, uploads a file and chooses the column to predict."""
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    from ui_settings import settings

    def open_page(content: bytes, file: str, target: str | None = "cost", **variables: str) -> AppTest:
        for name in ("LAB_USE_CASES", "LAB_DATA_FOLDER"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
        settings.cache_clear()
        found = AppTest.from_file(
            str(REPOSITORY / "streamlit" / "views" / "own_data.py"), default_timeout=120
        )
        found.run()
        found.file_uploader[0].set_value((file, content, "text/csv")).run()
        if target:
            found.selectbox[0].set_value(target).run()
        assert not found.exception
        return found

    yield open_page
    settings.cache_clear()


@pytest.fixture
def folders(tmp_path) -> dict[str, str]:
    """What `make demo` gives to the page."""
    (tmp_path / "use_cases").mkdir()
    (tmp_path / "data").mkdir()
    return {"LAB_USE_CASES": str(tmp_path / "use_cases"), "LAB_DATA_FOLDER": str(tmp_path / "data")}


def csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, sep=";").encode()


@pytest.mark.process
def test_a_table_is_drafted_and_created_and_nothing_is_overwritten(page, folders, tmp_path):
    shown = page(gzip.compress(csv(table())), "../../My visits.csv.gz", **folders)
    said = " ".join(element.value for element in (*shown.markdown, *shown.caption, *shown.info))
    assert "300 rows; cost is a number, judged by RMSE" in said
    assert "Its separators are semicolons." in said
    assert "stay in one split, by patient_nbr: 90 values with 3.3 rows each" in said
    columns = shown.dataframe[1].value.set_index("Column")
    assert dict(columns["Is"]) == {
        "patient_nbr": "group key",
        ODD: "category",
        "age": "integer",
        "visit_id": "left out",
        "same": "left out",
    }
    assert columns["Accepted"]["age"] == "0 to 200"
    assert columns["Why"]["same"] == "the same value in every row"
    shown.button[0].click().run()
    assert "my_visits is created." in shown.success[0].value
    made = get_use_case(tmp_path / "use_cases", "my_visits")
    assert [feature.name for feature in made.features] == [ODD, "age"]
    assert (tmp_path / "use_cases" / "my_visits.py").read_text().strip() == shown.code[0].value.strip()
    assert len(pd.read_csv(tmp_path / "data" / "my_visits.csv")) == 300
    before = (tmp_path / "use_cases" / "my_visits.py").stat()
    shown.button[0].click().run()
    assert "the use case my_visits exists already; choose another name" in shown.error[0].value
    assert (tmp_path / "use_cases" / "my_visits.py").stat() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"use_cases", "data", "home"}


def test_where_the_page_may_not_write_it_gives_the_files_and_says_the_commands(page, folders):
    shown = page(csv(table()), "visits.csv", LAB_USE_CASES=folders["LAB_USE_CASES"])
    assert not shown.button
    assert [button.label for button in shown.get("download_button")] == [
        "Download visits.py",
        "Download visits.csv",
    ]
    assert shown.code[1].value == "lab check visits\nlab run visits"
    assert not list(Path(folders["LAB_USE_CASES"]).iterdir())


def test_a_name_is_checked_before_anything_is_made_of_it(page, folders):
    shown = page(csv(table()), "visits.csv", **folders)
    shown.text_input[0].set_value("../evil").run()
    assert "A name has up to 40 lower-case letters" in shown.error[0].value
    assert not shown.button
    import ui_create

    for name in ("../evil", "a/b", "_x", "A", "", "x.y", "--help", "x" * 41, "x\n"):
        with pytest.raises(ui_create.CreateError, match="can't write that use case"):
            ui_create.create(Path("/nothing.csv"), "cost", name, {})


def test_a_file_that_cannot_be_read_is_one_line(page):
    bad = {
        "mine.csv is empty": ("mine.csv", b""),
        "line 3 has 1 value": ("mine.csv", b"a,cost\n1,2\n1\n"),
        "more than 20 MB when it is unpacked": (
            "mine.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 6_000_000),
        ),
        "can't be read: its end is damaged": ("mine.parquet", b"PAR1 and no more PAR1"),
    }
    shown = page(csv(table()), "visits.csv", None)
    for fault, (file, content) in bad.items():
        shown.file_uploader[0].set_value((file, content, "text/csv")).run()
        assert not shown.exception
        assert fault in shown.error[0].value
