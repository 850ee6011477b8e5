"""The accessibility rules of axe-core on every page, in light and dark, and every page on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.streamlit_page import no_run, open_page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("pages")]
PAGES = ("loop", "predict", "models", "data", "live", "own_data", "system")
GRAVE = ("serious", "critical")
FOLDED = 3
# Text is light where the scheme is dark.
DRAWN = """scheme => {
    const red = getComputedStyle(document.querySelector(".stApp")).color.match(/[0-9]+/)[0];
    return (red > 127) === (scheme === "dark");
}"""
# While a part fades in, its text has less contrast.
STILL = """() => Promise.all(document.getAnimations()
    .filter(animation => animation.effect.getTiming().iterations !== Infinity)
    .map(animation => animation.finished.catch(() => null))).then(() => null)"""


def test_no_page_breaks_a_serious_rule_or_leaves_a_phone(tab, pages):
    found = {}

    def look(what: str) -> None:
        """What axe-core finds grave, by the page's part and the rule."""
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            no_run(tab)
            tab.wait_for_function(DRAWN, arg=scheme)
            tab.evaluate(STILL)
            for broken in Axe().run(tab).response["violations"]:
                if broken["impact"] in GRAVE:
                    nodes = [
                        f"{' '.join(node['target'])}: {node['failureSummary']}" for node in broken["nodes"]
                    ]
                    found[what, scheme, broken["id"]] = nodes

    try:
        for name in PAGES:
            open_page(tab, pages, name)
            # The page System has one for each runbook, all of a kind.
            for closed in tab.locator("details > summary:visible").all()[:FOLDED]:
                closed.click()
            look(name)
            for part in tab.get_by_role("tab").all()[1:]:
                part.click()
                no_run(tab)
                look(f"{name}, {part.inner_text()}")
            size = tab.viewport_size
            tab.set_viewport_size({"width": 390, "height": 844})
            width = tab.evaluate("document.documentElement.scrollWidth")
            if width > 390:
                found[name, "width"] = [f"{width} px"]
            tab.set_viewport_size(size)
    finally:
        tab.emulate_media(color_scheme=None)
    assert not found, "\n".join(f"{where}: {nodes}" for where, nodes in found.items())
