"""The page Loop in a real browser, and its charts at 300 versions."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from mlops_lab.client import ModelVersion
from mlops_lab.model.tags import VersionTags
from mlops_lab.progress import challenges, champions
from mlops_lab.settings import REPOSITORY
from tests.support.streamlit_page import no_traceback, open_page, paragraph

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.browser
@pytest.mark.xdist_group("pages")
def test_the_first_page_is_the_loop(tab, pages):
    open_page(tab, pages, "loop")
    expect(tab.get_by_role("heading", name="Batch 2 ended")).to_be_visible()
    for badge in ("✓ decide", "– train", "– roll out", "✓ finish"):
        expect(tab.get_by_text(badge, exact=True)).to_be_visible()
    expect(paragraph(tab, "Skip: 8% of its groups are new, 610 new rows")).to_be_visible()
    expect(tab.get_by_text("lab run housing")).to_be_visible()
    run = re.compile(r"/#/experiments/\d+/runs/[0-9a-f]{32}")
    expect(tab.get_by_role("link", name="run in MLflow")).to_have_attribute("href", run)
    expect(tab.get_by_role("heading", name="Champions")).to_be_visible()
    expect(tab.get_by_text("not better: rmse_log 0.335 against").first).to_be_attached()
    no_traceback(tab)
    # On a phone nothing is beyond the edge.
    tab.set_viewport_size({"width": 390, "height": 844})
    open_page(tab, pages, "loop", use_case="newcomer")
    expect(tab.get_by_role("heading", name="Batch 0 is at work")).to_be_visible()
    expect(tab.get_by_text("100 received, 0 quarantined")).to_be_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


def test_three_hundred_versions_have_a_column_a_challenge_and_the_newest_champions_a_lane(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "streamlit")
    import ui_loop

    versions = [_version(number) for number in range(1, 301)]
    found = challenges(versions)
    assert len(found) == 75
    chart = ui_loop.intervals([one for one in found if one.better is not None]).to_dict()
    [rows] = [rows for rows in chart["datasets"].values() if "words" in rows[0]]
    assert len(rows) == 74
    assert {row["verdict"] for row in rows} == {"surely better", "within the noise", "surely worse"}
    terms = champions(versions)
    lanes = ui_loop.time_line(terms, NOW).to_dict()["datasets"].popitem()[1]
    assert [row["state"] for row in lanes] == ["before"] * (ui_loop.LANES - 1) + ["now"]
    assert lanes[-1]["name"] == f"{terms[-1].version} boosting"


def _version(number: int) -> ModelVersion:
    """Four candidates a training; every second challenger becomes champion."""
    moment = NOW - timedelta(minutes=15 * (300 - number))
    if number % 4:
        facts = VersionTags(
            candidate="ridge", metric="rmse", outcome="not chosen", reason="boosting was better"
        )
    elif number == 4:
        facts = VersionTags(candidate="boosting", metric="rmse", outcome="promoted", reason="first champion")
    else:
        promoted, change = number % 8 == 0, (number % 3 - 1) / 100
        facts = VersionTags(
            candidate="boosting",
            metric="rmse",
            outcome="promoted" if promoted else "refused",
            reason="by the policy",
            against=4,
            challenger_score=0.3 - change,
            champion_score=0.3,
            interval_low=change - 0.002,
            interval_high=change + 0.002,
            compared_rows=2000,
            decided_at=f"{moment:%Y-%m-%dT%H:%M:%S}",
            champion_since=f"{moment:%Y-%m-%dT%H:%M:%S}" if promoted else "",
        )
    return ModelVersion(version=number, created_at=moment, tags=facts.to_mlflow())
