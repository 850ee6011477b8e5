"""`lab trial`: begins and ends a trial; what a person gets wrong is one line, and changes nothing."""

import pytest

from mlops_lab.errors import LabError, ModelError
from mlops_lab.model.trial import Trial
from mlops_lab.steps.promote import roll_back
from mlops_lab.steps.reconcile import reconcile
from mlops_lab.steps.trial import begin_trial, end_trial, trial_of


def test_a_trial_begins_ends_and_is_over_with_its_champion(trained, use_case):
    first, second = [v.version for v in reversed(trained.registry.versions("flats"))]
    champion = trained.ledger.standing("flats").champion
    challenger = ({first, second} - {champion}).pop()
    for share, text in ((None, "shadow"), (0.1, "canary"), (1 / 3, "canary")):
        trial = begin_trial(trained, use_case, challenger, share)
        assert (trial.kind, trial.version, trial.champion) == (text, challenger, champion)
        assert trial.share == (share if share is None else pytest.approx(share, abs=1e-9))
        reconcile(trained, use_case)
        assert trial_of(trained, "flats") == trial
    assert end_trial(trained, use_case) == trial
    assert trial_of(trained, "flats") is None

    begin_trial(trained, use_case, challenger, None)
    roll_back(trained, use_case, challenger)
    assert trial_of(trained, "flats") is None
    # Its champion comes back, and the trial does not.
    roll_back(trained, use_case, champion)
    assert trained.registry.registered("flats").facts.trial == ""


def test_what_a_person_gets_wrong_is_one_line(trained, use_case):
    champion = trained.ledger.standing("flats").champion
    other = ({1, 2} - {champion}).pop()
    for version, share, kind, words in (
        (99, None, ModelError, "flats has no version 99"),
        (champion, None, ModelError, "is the champion of flats already"),
        (other, 0.0, LabError, "between 0 and 1, not 0"),
        (other, 1.0, LabError, "0.1 is one request in ten"),
        (other, -3.0, LabError, "between 0 and 1"),
        (other, float("nan"), LabError, "between 0 and 1"),
        (other, 1e-12, ModelError, "can't be read"),
    ):
        with pytest.raises(kind, match=words) as raised:
            begin_trial(trained, use_case, version, share)
        assert "\n" not in str(raised.value)
    with pytest.raises(LabError, match="flats has no trial"):
        end_trial(trained, use_case)
    assert trained.registry.registered("flats").facts.trial == ""


@pytest.mark.parametrize(
    "text",
    ["shadow 7 against 3", "canary 7 against 3 share 0.1", "canary 12 against 3 share 0.000000001"],
)
def test_the_tag_reads_as_it_is_written(text):
    assert str(Trial.read(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "shadow 7",
        "shadow 7 against 3 share 0.1",
        "canary 7 against 3",
        "canary 7 against 3 share 0",
        "canary 7 against 3 share 1",
        "canary 7 against 3 share 1.5",
        "canary 7 against 3 share .0",
        "shadow seven against three",
        "\n",
        "x" * 5000,
    ],
)
def test_another_text_is_refused_with_what_it_should_be(text):
    with pytest.raises(
        ModelError, match="neither `shadow 7 against 3` nor `canary 7 against 3 share"
    ) as raised:
        Trial.read(text)
    assert len(str(raised.value)) < 300
