"""A file of rows on the page Predict: what is wrong with it, its first rows, the predictions to download."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from tests.support import contracts
from tests.support.processes import PATIENCE
from tests.support.streamlit_page import no_run, no_traceback, open_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]
expect.set_options(timeout=PATIENCE * 1000)
ODD = "![x](http://evil.example/x.png) <b>:red[odd]"


def test_a_file_of_rows_is_predicted_and_its_bad_rows_are_named(tab, pages, tmp_path):
    rows = pd.DataFrame([contracts.housing().example | {"house_size": 1000 + i} for i in range(600)])
    rows = rows.astype(object).assign(**{ODD: "x"})
    rows.loc[550, "bed"] = ODD
    rows.to_csv(tmp_path / "rows of me.csv", index=False, sep=";")
    rows.drop(columns="city").to_csv(tmp_path / f"{ODD[:4]}.csv", index=False)
    open_page(tab, pages)
    tab.get_by_text("Predict the rows of a file").click()
    expect(tab.get_by_text("lab score housing FILE")).to_be_visible()
    upload(tab, tmp_path / f"{ODD[:4]}.csv", "lacks the column city")
    tab.get_by_role("button", name="Remove").click()
    upload(tab, tmp_path / "rows of me.csv", "<b>:red[odd]")  # as text, not as Markdown
    tab.get_by_role("button", name="Predict 600 rows").click()
    expect(tab.get_by_text("599 rows predicted by version 1, 1 refused.")).to_be_visible()
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download the predictions").click()
    assert download.value.suggested_filename == "rows of me.predictions.csv"
    found = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [int(row["row"]) for row in found] == [*range(1, 551), *range(552, 601)]
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download what was refused").click()
    assert "\n551,bed,type," in Path(download.value.path()).read_text().replace("\r", "")
    no_traceback(tab)


def upload(tab: Page, file: Path, said: str) -> None:
    """Chooses the file and waits for what the page says. Again when a refresh of the page has dropped the upload."""
    for _ in range(5):
        no_run(tab)
        tab.locator('input[type="file"]').set_input_files(file)
        try:
            expect(tab.get_by_text(said)).to_be_visible(timeout=15_000)
        except AssertionError:
            tab.get_by_role("button", name="Remove").click()
        else:
            return
    pytest.fail(f"the page doesn't say {said!r}")
