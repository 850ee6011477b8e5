"""The pages in a real browser, against the real services."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from mlops_lab.data.database import connect
from mlops_lab.data.log_tables import AlertNote
from tests.support import contracts
from tests.support.alertmanager import WATCHDOG, alert
from tests.support.streamlit_page import choose, fill, no_traceback, open_page, paragraph

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]


def test_models_shows_scores_reasons_and_plots(tab, pages):
    open_page(tab, pages, "models")
    expect(figure(tab, "Against the naive baseline")).to_have_text("59% less error")
    expect(figure(tab, "Typical error")).to_have_text("17.7% (56,770 USD)")
    expect(figure(tab, "On sealed rows")).to_have_text("0.341")
    expect(
        tab.get_by_text("2 decisions read the test rows since 2026-11-01, so the test score may")
    ).to_be_visible()
    sealed = "rmse_log 0.341 (95% interval 0.32 to 0.36) on 738 sealed rows"
    expect(tab.get_by_text(f"nothing is decided by them: {sealed}.")).to_be_visible()
    expect(paragraph(tab, "Promoted: first champion, rmse_log 0.332 on 2214 test rows")).to_be_visible()
    expect(tab.get_by_text("Only the 2 of 6 versions that were decided on")).to_be_visible()
    expect(tab.get_by_text("gradient_boosting was better on validation")).to_have_count(0)
    tab.get_by_text("Only the 2 of 6 versions that were decided on").click()
    expect(tab.get_by_text("gradient_boosting was better on validation").first).to_be_attached()
    chart = tab.get_by_label(
        "Dot plot of the candidates' errors in each training: gradient_boosting (2 of 2);"
    )
    expect(chart.first).to_be_visible()

    tab.get_by_role("tab", name="Model card").click()
    card = tab.get_by_role("tabpanel", name="Model card")
    expect(card.get_by_role("heading", name="House price, version 1", level=3)).to_be_visible()
    expect(card.get_by_text("0.32 to 0.345")).to_be_visible()
    expect(card.get_by_text(contracts.ODD_STATE)).to_be_visible()
    expect(card.locator("img")).to_have_count(0)

    tab.get_by_role("tab", name="Pictures").click()
    image = tab.get_by_alt_text("What moves the predictions. One dot for each test row and field")
    tab.wait_for_function("image => image.complete && image.naturalWidth === 480", arg=image.element_handle())
    heights = tab.get_by_test_id("stImage").locator("img").evaluate_all("all => all.map(i => i.clientHeight)")
    assert len(heights) == 3
    assert len(set(heights)) == 1

    choose(tab, "Version", "Version 4")
    expect(
        paragraph(tab, "Refused: not better: rmse_log 0.335 against 0.3342 on the same 2214 test rows")
    ).to_be_visible()
    href = tab.get_by_role("link", name="run in MLflow").get_attribute("href")
    assert re.search(r"/#/experiments/\d+/runs/[0-9a-f]{32}\?workflowType=machine_learning$", href)
    tab.get_by_role("tab", name="Compare").click()
    same = "Error of the logarithm 0.335 (Version 4) against 0.3342 (Version 1), 0.24% more error"
    expect(
        tab.get_by_text(f"On the same 2,214 test rows: {same}, better in 31.0% of the resamples.")
    ).to_be_visible()
    no_traceback(tab)


def figure(tab: Page, title: str) -> Locator:
    return tab.get_by_test_id("stMetric").filter(has_text=title).get_by_test_id("stMetricValue")


def test_a_metric_of_which_more_is_better_is_shown_that_way(tab, pages):
    open_page(tab, pages, "models", use_case="covertype")
    expect(figure(tab, "Against the naive baseline")).to_have_text("0.902 against 0.5")
    expect(figure(tab, "Mean F1 of the classes")).to_have_text("0.902")
    expect(tab.get_by_text("nothing is decided by them: none are stored yet.")).to_be_visible()
    expect(tab.get_by_text("Higher is better")).to_be_visible()
    no_traceback(tab)


def test_data_shows_counts_decision_drift_and_quarantine(tab, pages):
    open_page(tab, pages, "data")
    expect(tab.get_by_text("18,465")).to_be_visible()  # rows received in three batches
    expect(paragraph(tab, "8% of its groups are new")).to_be_visible()
    expect(tab.get_by_text("the champion's 90% intervals cover 87% of its new rows")).to_be_visible()
    lines = "Drift of Bedrooms, Bathrooms, Lot size, House size, State or territory over 2 batches;"
    expect(
        tab.get_by_label(f"{lines} the greatest index is 0.40, Bedrooms in batch 1.").first
    ).to_be_visible()
    # Batch 2: the greatest index is below the bound.
    expect(
        paragraph(tab, "Nothing drifted. The greatest of 10 indices is Bedrooms, 0.20; from 0.25 on")
    ).to_be_visible()
    expect(tab.get_by_text("standard deviation moved by -12%")).to_be_visible()
    shares = "Bedrooms: shares of 2 bins in the training rows and in the new rows."
    expect(
        tab.get_by_label(f"{shares} The greatest change: up to 2, from 50.0% to 30.0%.").first
    ).to_be_visible()
    expect(tab.get_by_text("2,610 rows that are new to version 1")).to_be_visible()
    expect(tab.get_by_text(contracts.ODD_STATE)).to_be_attached()
    tab.get_by_role("tab", name="Checks").click()
    expect(tab.get_by_text("bed 21% null (9% in training)")).to_be_attached()
    expect(tab.get_by_text("▲ warn")).to_be_attached()
    tab.get_by_role("tab", name="Quarantine").click()
    expect(tab.get_by_text("Bedrooms (minimum): 19")).to_be_visible()
    tab.get_by_role("tab", name="Drift").click()
    choose(tab, "Batch", "Batch 1,")
    expect(
        tab.get_by_label("Drift by field, the greatest first: Bedrooms 0.40, Bathrooms 0.20").first
    ).to_be_visible()
    choose(tab, "Batch", "Batch 0,")
    expect(tab.get_by_text("there was no champion to compare with")).to_be_visible()
    no_traceback(tab)


def test_system_shows_what_is_served(tab, pages):
    open_page(tab, pages, "system")
    expect(tab.get_by_text("House price version 1").first).to_be_visible()
    expect(tab.get_by_text("healthy,")).to_be_visible()


def test_a_use_case_without_a_model_has_a_message_on_each_page(tab, pages):
    open_page(tab, pages, use_case="newcomer")
    expect(tab.get_by_text("No model is served yet.")).to_be_visible()
    open_page(tab, pages, "models", use_case="newcomer")
    expect(tab.get_by_text("No version is registered yet.")).to_be_visible()
    open_page(tab, pages, "data", use_case="newcomer")
    expect(tab.get_by_text("Rows received")).to_be_visible()
    tab.get_by_role("tab", name="Checks").click()
    expect(tab.get_by_text("The batch wasn't checked (yet).")).to_be_visible()
    no_traceback(tab)


def test_an_alert_is_acknowledged_and_concluded_and_both_stay(tab, pages, alertmanager, folder):
    firing = alert(
        "InputDrift", "ticket", "bed of housing has drifted (PSI 3.1)", startsAt="2026-11-21T09:30:34Z"
    )
    alertmanager.alerts = [WATCHDOG, firing]
    open_page(tab, pages, "system")
    tab.get_by_text("Acknowledge or conclude").click()
    tab.get_by_role("button", name="Acknowledge").click()
    expect(tab.get_by_text("Your name and a reason are needed.")).to_be_visible()
    for action, why in (("Acknowledge", "a *new* region; I look at it"), ("Conclude", "it is expected")):
        fill(tab, "Your name", "Ana")
        fill(tab, "Reason, or what was done", why)
        tab.get_by_role("button", name=action).click()
        line = re.compile(rf"^{action}d by Ana, \d{{4}}-\d\d-\d\d \d\d:\d\d UTC: {re.escape(why)}$")
        expect(tab.get_by_text(line)).to_be_visible()
    expect(tab.get_by_role("link", name="What to do")).to_have_attribute(
        "href", "system?alert=InputDrift&use_case=housing"
    )
    with connect(f"sqlite:///{folder / 'home' / 'RawData.db'}").connect() as connection:
        kept = connection.execute(select(AlertNote.alert, AlertNote.action, AlertNote.who)).all()
    assert [tuple(row) for row in kept] == [
        ("InputDrift", "acknowledged", "Ana"),
        ("InputDrift", "concluded", "Ana"),
    ]
    # The next firing of the same alert is nobody's yet; the history stays.
    alertmanager.alerts = [firing | {"startsAt": "2100-01-01T00:00:00Z"}]
    tab.reload()
    expect(tab.get_by_text("since 2100-01-01")).to_be_visible()
    expect(tab.get_by_text("What people did about alerts")).to_be_visible()
    expect(tab.get_by_text("by Ana")).to_have_count(0)
    no_traceback(tab)
    alertmanager.alerts = [WATCHDOG]
