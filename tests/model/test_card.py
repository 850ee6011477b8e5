"""The model card is Markdown of the contract, and nothing in it can become markup."""

import re

import pytest
from markdown_it import MarkdownIt

from mlops_lab.contract import Contract
from mlops_lab.evaluation import Slice
from mlops_lab.metrics import METRICS
from mlops_lab.model.card import UNDECIDED, as_json, card, decided, description
from mlops_lab.model.tags import VersionTags

EVIL = "# a`<img src=x onerror=alert(1)>` ![p](http://evil.example/p.png) [go](javascript:alert(1)) | b\n# big \x1b[31m"


def html(text: str) -> str:
    """As a page would draw it that lets HTML through."""
    return MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_the_card_has_the_figures_of_the_contract(task, trained):
    contract = trained[task].contract
    text = card(contract, 3, VersionTags(outcome="promoted", reason="better by 2%"))
    assert text.startswith("# A small use case, version 3\n")
    assert "**Decision:** promoted, better by 2%\n" in text
    own = contract.metric
    low, high = contract.evaluation.intervals[own]
    score, naive = contract.metrics["test"][own], contract.baseline["test"][own]
    assert (
        f"| **{METRICS[own].title}** (`{own}`) | {score:.4g} | {low:.4g} to {high:.4g} | {naive:.4g} |"
        in text
    )
    sections = ["Data", "Scores", "Slices of the test rows", "How sure", "Limits", "Cost of the training"]
    assert re.findall("^## (.*)$", text, re.MULTILINE) == sections
    sure = {
        "regression": "Its intervals are made to cover 90% of new rows",
        "binary": f"It answers true from a probability of {contract.threshold or 0:.3g} on",
        "multiclass": "(calibration error). Last step of the graph: ",
    }
    assert sure[task] in text
    estimated = contract.evaluation.simulated
    assert f"the estimate without their ground truth is {estimated:.4g}, their score is {score:.4g}." in text
    assert "`area` | A number. At least 0. Null means unknown. | a tenth up to " in text
    assert "`heating` | Known values only. Null means unknown. | 3 values with a code, " in text
    # A date's deciles are dates.
    assert re.search(r"`built` \| A date\..* a tenth up to 19\d\d-\d\d-\d\d, a tenth above 20\d\d-", text)
    # Each table is drawn as one: a cell too many or too few would show as text.
    assert html(text).count("<table>") == (2 if task == "binary" else 3)
    assert "| " not in re.sub(r"<(code|td|th)[^>]*>.*?</\1>", "", html(text))


def test_nothing_of_the_data_becomes_markup(trained):
    contract = trained["multiclass"].contract
    odd = Slice(by=EVIL, value=EVIL, metric="accuracy", rows=500, score=0.5, low=0.4, high=0.6)
    evaluation = contract.evaluation.model_copy(update={"slices": [odd], "calibration": "none"})
    features = [contract.features[0].model_copy(update={"name": EVIL})]
    evil = contract.model_copy(
        update={
            "title": EVIL,
            "description": EVIL,
            "target": contract.target.model_copy(update={"title": EVIL}),
            "evaluation": evaluation,
            "features": features,
        }
    )
    facts = VersionTags(outcome="refused", reason=EVIL)
    for text in (card(evil, 1, facts), decided(description(evil), facts)):
        drawn = html(text)
        assert not re.search(r"<(img|a|script)\b", drawn)
        assert drawn.count("<h1>") == (1 if text.startswith("# ") else 0)
        assert "\x1b" not in text
        assert "onerror" in drawn  # it is shown, as text


def test_a_description_is_short_and_keeps_the_newest_decision(trained):
    text = description(trained["binary"].contract)
    assert len(text) < 2000
    assert f"**Decision:** {UNDECIDED}" in text
    refused = decided(text, VersionTags(outcome="refused", reason="not better\nat all " + "x" * 9000))
    assert len(refused) < 4000
    assert "**Decision:** refused, not better at all x" in refused
    back = decided(refused, VersionTags(outcome="promoted", reason="forced: it is"))
    assert back == text.replace(UNDECIDED, "promoted, forced: it is")


def test_a_model_of_an_earlier_release_has_a_card(trained):
    stored = trained["regression"].contract.model_dump(mode="json")
    for later in ("evaluation", "interval", "lineage", "threshold"):
        del stored[later]
    old = Contract.model_validate(stored)
    text = card(old, 1, VersionTags())
    assert "| **Error of the logarithm** (`rmse_log`) | " in text
    assert "None were measured." in text
    assert "Its origin isn't known." in text
    assert f"**Decision:** {UNDECIDED}\n" in text
    assert "rmse_log" in description(old)
    assert as_json(old, 1, VersionTags())["evaluation"] is None
