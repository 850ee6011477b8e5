"""What every page has: the use case's choice, what is said while a service is away, and text from outside."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from mlops_lab.features import Integer
from tests.support import contracts
from tests.support.processes import started
from tests.support.streamlit_page import choose, fill, no_traceback, open_page, predict

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]
# Markdown and HTML that would fetch from another machine.
MARKUP = "![x](http://elsewhere.invalid/p.png) [click](http://elsewhere.invalid/) <img src=x>"


def test_a_text_in_a_link_is_shown_as_it_is_and_nothing_beyond_this_machine_is_asked(tab, pages):
    beyond = []

    def note(request):
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            beyond.append(request.url)

    tab.on("request", note)
    try:
        city = f"{MARKUP} :material/home: :red[big]"
        open_page(tab, pages, f"?housing.city={quote(city)}&")
        predict(tab)
        answer = tab.get_by_test_id("stCaptionContainer").filter(has_text="is rare or absent")
        assert f"“{city}”" in answer.inner_text().replace("\u2060", "")
        expect(tab.locator("img[src*=elsewhere], a[href*=elsewhere]")).to_have_count(0)
        # A headless browser doesn't load the icon, so its address counts as well.
        icons = tab.locator("link[rel*=icon]").evaluate_all("links => links.map(link => link.href)")
    finally:
        tab.remove_listener("request", note)
    assert icons
    assert [icon for icon in icons if not icon.startswith((pages.url, "data:"))] == []
    assert beyond == []


@pytest.mark.parametrize("name", ["loop", "", "models", "data", "system"])
def test_unreachable_services_are_one_message(tab, lonely_pages, name):
    open_page(tab, lonely_pages, name)
    expect(tab.get_by_text("doesn't answer").first).to_be_visible()
    no_traceback(tab)


def test_a_use_case_trained_later_appears_without_a_reload(tab, pages, past):
    open_page(tab, pages)
    past.landed("late")
    choose(tab, "Use case", "Late")
    expect(tab.get_by_text("No model is served yet.")).to_be_visible()
    # Its title arrives with its first champion. The choice stays, whatever text the browser has.
    late = contracts.covertype().model_copy(update={"use_case": "late", "title": "Came later"})
    past.promote(late)
    expect(tab.get_by_text("Came later: version 1 is served")).to_be_visible()
    assert predict(tab) in late.classes
    choose(tab, "Use case", "House price")
    expect(tab.get_by_label("Bedrooms", exact=True)).to_be_visible()
    choose(tab, "Use case", "Came later")
    assert predict(tab) in late.classes


def test_a_new_champion_with_other_fields_changes_the_open_form(tab, pages, past):
    first = contracts.covertype().model_copy(update={"use_case": "changing", "title": "Changing"})
    past.promote(first)
    # The address names it before the page knows it.
    open_page(tab, pages, use_case="changing")
    expect(tab.get_by_text("Changing: version 1 is served")).to_be_visible()
    fill(tab, "Slope (degree)", "80")
    fill(tab, "Elevation (m)", "2500")
    elevation, slope, area = first.features
    second = contracts.with_features(
        first,
        [
            elevation,
            slope.model_copy(update={"maximum": 45.0}),
            area,
            Integer("rain", "Rain", unit="mm", example=700),
        ],
    )
    past.promote(second)
    expect(tab.get_by_label("Rain (mm)", exact=True)).to_have_value("700")
    expect(tab.get_by_label("Elevation (m)", exact=True)).to_have_value("2500")
    # A typed value stays, also one that the new model refuses.
    expect(tab.get_by_text("Slope must be at most 45, not 80")).to_be_visible()
    fill(tab, "Slope (degree)", "40")
    assert predict(tab) in first.classes


def test_an_outage_keeps_the_form(tab, pages, inference, supervisor):
    open_page(tab, pages)
    fill(tab, "Bedrooms", "9")
    supervisor.stop(inference)
    try:
        expect(tab.get_by_text("Inference is unavailable")).to_be_visible()
        expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("9")
        tab.get_by_role("button", name="Predict", exact=True).click()
        expect(tab.get_by_text("doesn't answer").first).to_be_visible()
        no_traceback(tab)
    finally:
        started(supervisor, inference)
    expect(tab.get_by_text("House price: version 1 is served")).to_be_visible()
    expect(tab.get_by_label("Bedrooms", exact=True)).to_have_value("9")
    predict(tab)
