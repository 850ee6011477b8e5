"""The Gradio page in a real browser, against the real services."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from mlops_lab.client import InferenceClient, ModelVersion
from mlops_lab.features import Integer
from mlops_lab.local.processes import Process
from mlops_lab.model.tags import VersionTags
from tests.support import contracts, processes
from tests.support.processes import KEY, PATIENCE

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]
expect.set_options(timeout=PATIENCE * 1000)


def open_page(tab: Page, service: Process, use_case: str = "housing") -> None:
    tab.goto(f"{service.url}/?use_case={use_case}")
    expect(tab.get_by_role("heading", name="MLOps lab")).to_be_visible()
    expect(tab.get_by_role("button", name="Predict")).to_be_visible()


def fill(tab: Page, label: str, text: str) -> None:
    box = tab.get_by_label(re.compile(re.escape(label))).first
    box.fill(text)
    box.press("Tab")


def predict(tab: Page) -> str:
    """Presses Predict, waits for the plot, and returns the large text of the answer."""
    tab.get_by_role("button", name="Predict").click()
    expect(tab.locator("#moved svg[role=img]")).to_be_visible()
    return tab.locator("#answer h2").inner_text()


def search(box, text: str) -> None:
    box.click()
    box.fill("")
    box.press_sequentially(text, delay=30)


def choose(tab: Page, title: str) -> None:
    tab.get_by_label("Use case", exact=True).click()
    tab.get_by_role("option", name=title).click()


def test_predicts_what_the_service_predicts_for_the_filled_form(tab, page, inference):
    beyond = []
    tab.on("request", lambda request: beyond.append(request.url) if "127.0.0.1" not in request.url else None)
    open_page(tab, page)
    expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("3")  # the contract's example
    fill(tab, "Bedrooms", "5")
    fill(tab, "Lot size (acre)", "")  # empty means unknown
    shown = predict(tab)
    row = contracts.housing().example | {"bed": 5, "acre_lot": None}
    headers = {"Authorization": f"Bearer {KEY}"}
    reply = httpx.post(f"{inference.url}/predict/housing", json=row, headers=headers, timeout=30).json()
    # The second digit of the interval's ± 50,000 USD.
    value, low, high = (f"{round(reply['predictions'][0] + way, -3):,.0f}" for way in (0, -50_000, 50_000))
    assert shown == f"{value} USD"
    limits = f"{low} and {high}"
    between = f"In 90% of such predictions the true value is between {limits} USD"
    expect(tab.get_by_text(between)).to_be_visible()
    expect(tab.get_by_text("By version 1 of housing.")).to_be_visible()
    picture = tab.locator("#moved svg[role=img]")
    expect(picture).to_have_attribute("aria-label", re.compile(r"^Waterfall: .*Bedrooms = 5 [+−]"))
    assert picture.bounding_box()["width"] > 300
    margins = tab.evaluate(
        "() => { const b = document.querySelector('.gradio-container').getBoundingClientRect();"
        "return [b.left, document.documentElement.clientWidth - b.right] }"
    )
    assert margins[0] == pytest.approx(margins[1], abs=2)
    assert [url for url in beyond if not url.startswith(("data:", "blob:"))] == []


def test_on_a_phone_each_field_has_its_row_and_nothing_is_beyond_the_edge(tab, page):
    tab.set_viewport_size({"width": 390, "height": 844})
    open_page(tab, page)
    predict(tab)
    labels = (
        "MLOps lab",
        "Use case",
        "Bedrooms",
        "Bathrooms",
        "Lot size (acre)",
        "State or territory",
        "City",
    )
    tops = [tab.get_by_text(label, exact=True).first.bounding_box()["y"] for label in labels]
    assert tops == sorted(set(tops))
    assert tab.get_by_role("heading", name="MLOps lab").bounding_box()["height"] < 50  # one line
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_another_use_case_shows_its_form_and_removes_the_answer(tab, page):
    open_page(tab, page)
    predict(tab)
    choose(tab, "Forest cover")
    expect(tab.get_by_label("Elevation (m)", exact=True)).to_have_value("2800")
    expect(tab.locator("#moved svg[role=img]")).to_have_count(0)
    assert predict(tab) in contracts.covertype().classes
    expect(tab.get_by_text(re.compile(r"Lodgepole Pine \d+\.\d%"))).to_be_visible()


def test_a_category_with_thousands_of_values_is_searched(tab, page):
    open_page(tab, page, "diabetes")
    tab.get_by_text("35 more fields").click()
    box = tab.get_by_label("Diagnosis", exact=True).first
    search(box, "2499")
    tab.get_by_role("option", name="2499").click()
    expect(box).to_have_value("2499")
    assert predict(tab) in ("Yes", "No")
    expect(tab.get_by_text(re.compile(r"Probability \d+\.\d%; yes from 11.0% on"))).to_be_visible()


def test_a_value_of_hundreds_is_found_and_a_new_one_is_accepted(tab, page):
    open_page(tab, page)
    box = tab.get_by_label("City", exact=True).first
    search(box, "City 29")
    expect(tab.get_by_role("option")).to_have_count(10)
    search(box, "Nowhere at all")
    box.press("Enter")
    predict(tab)
    expect(box).to_have_value("Nowhere at all")


def test_a_refused_row_names_every_field_and_rule(tab, page):
    open_page(tab, page)
    fill(tab, "Bedrooms", "99")
    fill(tab, "House size (sqft)", "")
    # A picture and a link in Markdown stay text.
    fill(tab, "Sold before on", "![x](http://elsewhere.invalid/p.png) [y](http://elsewhere.invalid/)")
    tab.get_by_role("button", name="Predict").click()
    expect(tab.get_by_text("The model refuses this row")).to_be_visible()
    for words in (
        "Bedrooms must be at most 60",
        "House size must not be null",
        "Sold before on must be a date",
    ):
        expect(tab.get_by_text(words)).to_be_visible()
    expect(tab.locator("#answer").get_by_text("![x](http")).to_be_visible()
    expect(tab.locator("#answer img, #answer a")).to_have_count(0)
    assert "Traceback" not in tab.inner_text("body")


def test_the_history_of_models_shows_scores_and_reasons(tab, page):
    open_page(tab, page)
    tab.get_by_role("tab", name="Models").click()
    expect(tab.get_by_text("Version 1 of House price is served; 6 versions were registered.")).to_be_visible()
    expect(tab.locator("#scores svg[role=img]")).to_be_visible()
    table = tab.locator("#table")
    expect(table.get_by_role("gridcell", name="not better: rmse_log 0.335 against 0.3342")).to_be_visible()
    expect(table.get_by_role("gridcell", name="first champion, rmse_log 0.332")).to_be_visible()
    expect(table.get_by_role("gridcell", name="0.335", exact=True)).to_be_visible()
    tab.locator("#card button").click()
    card = tab.locator("#card")
    expect(card.get_by_role("heading", name="House price, version 1")).to_be_visible()
    expect(card.get_by_text("0.32 to 0.345")).to_be_visible()
    expect(card.get_by_text(contracts.ODD_STATE)).to_be_visible()
    expect(card.locator("img")).to_have_count(0)


def test_the_history_is_drawn_again_only_when_it_has_changed(inference, monkeypatch):
    from gradio_app.events import Events  # Gradio takes two seconds to load, in every worker

    client = InferenceClient(inference.url, timeout=PATIENCE, key=SecretStr(KEY))
    events = Events(client)
    *_, plot, _, shown = events.history(("housing", 1), None)
    assert plot.visible
    assert all(update == {"__type__": "update"} for update in events.history(("housing", 1), shown))
    about, versions = shown
    _, text, plot, table, now = events.history(("housing", 1), (about, versions[1:]))
    assert (plot.visible, table.visible, now) == (True, True, shown)
    assert text.startswith("# House price, version 1\n")
    assert events.history(("diabetes", 1), shown)[0].startswith("Version 1 of ")
    # A decision that waits for a person is part of what is said.
    asked = VersionTags(outcome="waiting", reason="until noon: `lab approve housing 7`").to_mlflow()
    monkeypatch.setattr(client, "versions", lambda _: [ModelVersion(version=7, tags=asked)])
    said = events.history(("housing", 1), shown)[0]
    assert said.endswith("\n\n**Version 7 waits for your decision:** until noon: `lab approve housing 7`")


def test_a_new_champion_with_other_fields_changes_the_open_form_and_keeps_the_typed_values(tab, page, past):
    first = contracts.covertype().model_copy(update={"use_case": "twin", "title": "Twin"})
    past.promote(first)
    open_page(tab, page)
    # The open list grows when the page learns of the new use case.
    tab.get_by_label("Use case", exact=True).click()
    tab.get_by_role("option", name="Twin").click()
    fill(tab, "Elevation (m)", "2500")
    second = contracts.with_features(
        first, [*first.features, Integer("rain", "Rain", unit="mm", example=700)]
    )
    past.promote(second)
    expect(tab.get_by_label("Rain (mm)", exact=True)).to_have_value("700")
    expect(tab.get_by_label("Elevation (m)", exact=True)).to_have_value("2500")
    assert predict(tab) in first.classes
    expect(tab.get_by_text("By version 2 of twin.")).to_be_visible()
    tab.get_by_role("tab", name="Models").click()
    expect(tab.get_by_text("Version 2 of Twin is served; 2 versions were registered.")).to_be_visible()
    expect(tab.locator("#table").get_by_role("row")).to_have_count(3)  # its head and two versions


def test_no_model_and_an_outage_are_one_message_until_they_end(tab, start_page, supervisor, folder):
    home = folder / "empty"
    home.mkdir()
    empty = processes.inference("inference-empty", home, "/health")
    alone = start_page(empty.url)
    tab.goto(alone.url)
    expect(tab.get_by_text("A service is unavailable: The inference service")).to_be_visible()
    processes.started(supervisor, empty)
    expect(tab.get_by_text("No model is served yet.")).to_be_visible()
    tab.get_by_role("tab", name="Models").click()
    expect(tab.get_by_text("No version to show yet.")).to_be_visible()
    supervisor.stop(empty, alone)
    assert "Traceback" not in tab.inner_text("body") + supervisor.log(alone.name).read_text()


def test_an_outage_keeps_the_form(tab, page, inference, supervisor):
    open_page(tab, page)
    fill(tab, "Bedrooms", "9")
    supervisor.stop(inference)
    try:
        expect(tab.locator("#notice").get_by_text("A service is unavailable")).to_be_visible()
        tab.get_by_role("button", name="Predict").click()
        expect(tab.locator("#answer").get_by_text("doesn't answer")).to_be_visible()
        expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("9")
    finally:
        processes.started(supervisor, inference)
    expect(tab.locator("#notice")).to_have_count(0)
    predict(tab)
    assert "Traceback" not in supervisor.log(page.name).read_text()


def test_the_page_accepts_no_upload_and_publishes_no_api(page):
    reply = httpx.post(f"{page.url}/gradio_api/upload", files={"files": ("a.txt", b"x" * 10_000)}, timeout=30)
    assert reply.status_code >= 400
    assert httpx.get(f"{page.url}/gradio_api/info", timeout=30).json()["named_endpoints"] == {}
