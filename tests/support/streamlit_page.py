"""What a person does on a Streamlit page, in a real browser."""

import pytest
from playwright.sync_api import Page, expect
from playwright.sync_api import TimeoutError as NotFoundInTime

from tests.support.processes import PATIENCE

expect.set_options(timeout=PATIENCE * 1000)


def open_page(tab: Page, service, name: str = "", use_case: str = "housing") -> None:
    for _ in range(3):
        view, _, more = name.partition("?")
        view = view or "predict"
        tab.goto(f"{service.url}/{'' if view == 'loop' else view}?{more}use_case={use_case}")
        expect(
            tab.get_by_role("heading", name=view.replace("_", " ").capitalize(), exact=True)
        ).to_be_visible()
        no_run(tab)
        # Chromium drops what it is loading when a network interface comes or goes, as containers make them do.
        if not tab.get_by_text("Failed to fetch dynamically imported module").count():
            break


def fill(tab: Page, label: str, text: str) -> None:
    box = tab.get_by_label(label, exact=True)
    # While the page is drawn again with another layout, the earlier field is still there.
    expect(box).to_have_count(1)
    box.fill(text)
    box.press("Tab")
    no_run(tab)


def no_run(tab: Page) -> None:
    """Waits until the page has processed the last input."""
    expect(tab.locator('[data-test-script-state="running"]')).to_have_count(0)


def choose(tab: Page, label: str, option: str) -> None:
    """Chooses from a list. The list is opened again when an update of the page has closed it."""
    wanted = tab.get_by_role("option", name=option)
    for _ in range(20):
        tab.get_by_label(label, exact=True).click()
        try:
            wanted.click(timeout=5000)
        except NotFoundInTime:
            continue
        return
    pytest.fail(f"there is no {option} to choose")


def predict(tab: Page) -> str:
    """Presses Predict, waits until the prediction is logged, and returns the large text of the answer."""
    no_run(tab)
    button = tab.get_by_role("button", name="Predict", exact=True)
    # While the page is drawn again with another layout, the earlier button is still there.
    expect(button).to_have_count(1)
    button.click()
    expect(tab.get_by_text("Its id:")).to_be_visible()
    no_run(tab)
    expect(tab.get_by_text("Explanation (SHAP values)")).to_be_visible()
    no_traceback(tab)
    return tab.get_by_test_id("stMetricValue").inner_text()


def paragraph(tab: Page, text: str):
    """A paragraph with this text; the cells of tables are in the page too, but hidden."""
    return tab.get_by_test_id("stMarkdown").filter(has_text=text).first


def no_traceback(tab: Page) -> None:
    expect(tab.get_by_test_id("stException")).to_have_count(0)
    assert "Traceback" not in tab.inner_text("body")
