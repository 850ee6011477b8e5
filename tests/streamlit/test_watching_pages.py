"""The pages Live and System in a real browser, against the real services."""

import re

import pytest
from playwright.sync_api import expect
from pydantic import SecretStr

from mlops_lab.live_client import LiveClient
from tests.support import contracts, processes
from tests.support.streamlit_page import fill, no_run, no_traceback, open_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]


def test_live_leads_from_an_answer_to_its_payloads_and_an_alert_to_its_runbook(tab, pages, inference):
    beyond = []

    def note(request):
        if not request.url.startswith((pages.url, "data:", "blob:")):
            beyond.append(request.url)

    people = LiveClient(inference.url, processes.PATIENCE, key=SecretStr(processes.READING_KEY))
    [known] = people.predict("housing", [contracts.housing().example]).prediction_ids
    tab.on("request", note)
    try:
        open_page(tab, pages, "live")
        expect(tab.get_by_text("for predictions since the service started")).to_be_visible()
        # The chart's alt text names its tools.
        expect(tab.get_by_role("button", name=re.compile("^Show data: Test rows: "))).to_be_attached()
        key = tab.get_by_label("API key with the right to read", exact=True)
        key.fill(processes.READING_KEY)
        key.press("Enter")
        # It is in the log within a second; the table has it at the next refresh.
        fill(tab, "Prediction id", known)
        expect(tab.get_by_text("Learnt from 1 batch:")).to_be_visible()
        expect(tab.get_by_text("Choose a row")).to_be_visible()
        no_traceback(tab)

        # The address that a notified alert has.
        tab.goto(f"{pages.url}/runbooks?alert=InputDrift&use_case=diabetes")
        expect(tab.get_by_role("heading", name="What to do: InputDrift")).to_be_visible()
        expect(tab).to_have_url(re.compile(r"/system\?.*use_case=diabetes"))
        for said in ("House price version 1", "Healthy, ", "rows served since its start"):
            expect(tab.get_by_text(said).first).to_be_visible()
        no_run(tab)
        no_traceback(tab)
    finally:
        tab.remove_listener("request", note)
    assert beyond == []
