"""The page Predict against the real services: its logic in this process, what a browser adds in a browser."""

import re
import time

import httpx
import pytest
from playwright.sync_api import expect
from sqlalchemy import select
from streamlit.testing.v1 import AppTest

from mlops_lab.data.database import connect
from mlops_lab.data.log_tables import Feedback
from mlops_lab.settings import REPOSITORY
from tests.support import contracts
from tests.support.processes import KEY, PATIENCE
from tests.support.streamlit_page import choose, fill, no_run, no_traceback, open_page, predict

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]
HEADERS = {"Authorization": f"Bearer {KEY}"}


def page(view: str) -> None:
    import runpy

    import ui_frame

    ui_frame.head("Predict")
    runpy.run_path(view)


@pytest.fixture
def form(monkeypatch, inference, mlflow) -> AppTest:
    """The page of house prices in this process, after its first run."""
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_frame
    import ui_settings

    monkeypatch.setenv("LAB_API_KEY", KEY)
    monkeypatch.setenv("LAB_INFERENCE_URL", inference.url)
    monkeypatch.setenv("LAB_MLFLOW_URL", mlflow.url)
    ui_settings.settings.cache_clear()
    for cached in (ui_frame.inference, ui_frame.tracking, ui_frame.contract, ui_frame.look):
        cached.clear()
    view = REPOSITORY / "streamlit" / "views" / "predict.py"
    app = AppTest.from_function(page, default_timeout=PATIENCE, args=(str(view),))
    app.query_params["use_case"] = "housing"
    app.run()
    yield app
    ui_settings.settings.cache_clear()
    ui_frame.inference.clear()


def logged(inference) -> float:
    """The requests to /predict that the service has answered."""
    text = httpx.get(f"{inference.url}/metrics", timeout=PATIENCE).text
    found = re.findall(r'^inference_requests_total\{[^}]*kind="predict"[^}]*\} (\S+)', text, re.MULTILINE)
    return sum(map(float, found))


def ids(form: AppTest) -> list[str]:
    """The ids of predictions that the page shows."""
    return [code.value for code in form.code if re.fullmatch(r"[0-9a-f]{32}", code.value)]


def expected(inference, **changed) -> str:
    """What the page shows of a row: ± 50,000 USD are the model's interval, so the second digit of that."""
    row = contracts.housing().example | changed
    reply = httpx.post(f"{inference.url}/explain/housing", json=row, headers=HEADERS, timeout=PATIENCE).json()
    return f"{round(reply['prediction'], -3):,.0f}"


def test_the_example_is_answered_at_once_and_each_change_too_and_only_the_button_logs(form, inference):
    assert not form.exception
    before = logged(inference)
    assert form.metric[0].value == expected(inference)
    assert "In 90% of such predictions the true value is between" in "".join(c.value for c in form.caption)
    form.number_input(key="housing.bed").set_value(9).run()
    assert form.metric[0].value == expected(inference, bed=9) != expected(inference)
    form.selectbox(key="housing curve").set_value("city").run()
    assert not form.exception
    assert (logged(inference), ids(form)) == (before, [])
    next(button for button in form.button if button.label == "Predict").click().run()
    assert logged(inference) == before + 1
    assert len(ids(form)) == 1
    # Another row is another prediction, which isn't logged.
    next(button for button in form.button if button.label == "Reset").click().run()
    assert form.number_input(key="housing.bed").value == 3
    assert (form.metric[0].value, ids(form)) == (expected(inference), [])
    assert logged(inference) == before + 1


def test_a_number_out_of_range_is_refused_with_its_name_and_never_replaced(form):
    form.number_input(key="housing.house_size").set_value(1).run()
    assert "House size must be at least 100, not 1" in form.error[0].value
    assert not form.metric
    assert form.number_input(key="housing.house_size").value == 1
    form.number_input(key="housing.house_size").set_value(1500).run()
    assert form.metric


def test_predicts_what_the_service_predicts_and_says_it_to_everybody(tab, pages, inference):
    open_page(tab, pages)
    expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("3")  # the contract's example
    expect(tab.get_by_label("Status", exact=True)).to_have_value("For sale")
    fill(tab, "Bedrooms", "5")
    expect(tab).to_have_url(re.compile(r"housing\.bed=5$"))
    fill(tab, "Lot size (acre)", "")  # empty means unknown
    expect(tab.get_by_label("Lot size (acre)", exact=True)).to_have_attribute(
        "placeholder", "unknown (from 0 to 100,000)"
    )
    value = expected(inference, bed=5, acre_lot=None)
    expect(tab.get_by_role("status").filter(has_text="Price")).to_have_text(f"Price (USD): {value}")
    assert predict(tab) == value
    expect(tab.get_by_text("Logged, by version 1 of housing")).to_be_visible()
    code = tab.get_by_test_id("stCode").filter(has_text=re.compile("^[0-9a-f]{32}$"))
    # It is shown where the mouse is.
    expect(code.locator("[aria-label='Copy to clipboard']")).to_be_attached()
    expect(
        tab.get_by_label(re.compile("^Waterfall: .*Bedrooms = 5 [+−].*Lot size = unknown"))
    ).to_be_visible()
    choose(tab, "How the prediction changes with", "Status")
    bars = tab.get_by_label(re.compile(r"^Bars: Price \(USD\) from .* by Status; .* at this row's For sale"))
    expect(bars).to_be_visible()
    no_traceback(tab)


def test_a_reload_and_another_page_keep_the_typed_values(tab, pages):
    open_page(tab, pages)
    expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("3")
    # Out of its range: it stays, and the service says so.
    fill(tab, "Bedrooms", "70")
    expect(tab).to_have_url(re.compile(r"housing\.bed=70$"))
    fill(tab, "Bathrooms", "")
    expect(tab).to_have_url(re.compile(r"housing\.bed=70&housing\.bath=$"))
    tab.reload()
    expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("70")
    expect(tab.get_by_text("Bedrooms must be at most 60, not 70")).to_be_visible()
    expect(tab.get_by_label("Bathrooms", exact=True)).to_have_value("")
    expect(tab.get_by_label("House size (sqft)", exact=True)).to_have_value("1500")
    tab.get_by_role("link", name="System").click()
    expect(tab.get_by_role("heading", name="System")).to_be_visible()
    tab.get_by_role("link", name="Predict").click()
    expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("70")
    expect(tab.get_by_label("Bathrooms", exact=True)).to_have_value("")


def test_a_new_value_of_an_open_category_is_accepted_and_named(tab, pages):
    open_page(tab, pages)
    box = tab.get_by_label("City", exact=True)
    box.fill("Cit of nowhere")
    box.press("Enter")
    rare = "“Cit of nowhere” is rare or absent in the training rows. Similar frequent values: City 000"
    expect(tab.get_by_text(rare)).to_be_visible()
    predict(tab)


def test_a_long_form_folds_what_matters_least_and_a_value_is_looked_up_or_refused(tab, pages):
    open_page(tab, pages, use_case="diabetes")
    tab.get_by_text("35 more fields").click()
    assert predict(tab) in ("Yes", "No")
    expect(tab.get_by_text(re.compile(r"Probability \d+\.\d%; yes from 11.0% on"))).to_be_visible()
    expect(tab.get_by_label(re.compile(r"^Bar: probability of yes .* with a mark at 11.0%"))).to_be_visible()
    expect(tab.get_by_label(re.compile("^Waterfall: .*37 other fields"))).to_be_visible()
    tab.get_by_text("Look up a value").click()
    search = tab.get_by_label("Contains", exact=True)
    search.fill("2499")
    search.press("Enter")
    tab.get_by_role("button", name="2499", exact=True).click()
    box = tab.get_by_label("Diagnosis", exact=True)
    expect(box).to_have_value("2499")
    no_run(tab)
    box.fill("nonsense")
    box.press("Enter")
    expect(tab.get_by_text("The model refuses this row")).to_be_visible()
    expect(tab.get_by_text("Diagnosis must be one of")).to_be_visible()
    no_traceback(tab)


def test_classes_are_shown_with_their_probabilities(tab, pages):
    open_page(tab, pages, use_case="covertype")
    shown = predict(tab)
    assert shown in contracts.covertype().classes
    expect(tab.get_by_text(f"Change of the probability of {shown} (percentage points)")).to_be_visible()
    expect(tab.get_by_label(re.compile("^Bars of the probabilities: .*Lodgepole Pine"))).to_be_visible()
    expect(tab.get_by_text("What grows there most.")).to_be_visible()


def test_ground_truth_reaches_the_database(tab, pages, folder):
    open_page(tab, pages)
    predict(tab)
    tab.get_by_text("Tell the true value").click()
    fill(tab, "Price (USD)", "398765")
    tab.get_by_role("button", name="Send").click()
    expect(tab.get_by_text("The ground truth is stored with this prediction")).to_be_visible()
    engine = connect(f"sqlite:///{folder / 'home' / 'RawData.db'}")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with engine.connect() as connection:
            kept = connection.execute(select(Feedback.use_case, Feedback.actual)).all()
        if ("housing", 398765.0) in [tuple(row) for row in kept]:
            return
        time.sleep(0.3)
    pytest.fail(f"the ground truth isn't in the database; there are {kept}")
