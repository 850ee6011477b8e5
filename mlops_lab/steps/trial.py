"""Begins and ends the trial of a challenger with live traffic, by a tag of the registered model.

The tag names the champion that the challenger is tried against. So a trial is over when another version becomes
champion, in whatever way and also after a kill; `mlops_lab/steps/reconcile.py` removes the tag then.
"""

from mlops_lab.errors import LabError, ModelError
from mlops_lab.lab import Lab
from mlops_lab.model.registry import CHAMPION
from mlops_lab.model.trial import Trial
from mlops_lab.use_case import UseCase


def begin_trial(lab: Lab, use_case: UseCase, version: int, share: float | None) -> Trial:
    """Gives the version live traffic, instead of an earlier challenger. share: as in `Trial`.

    Raises `NoChampionError` before the first promotion, `ModelError` when the version is the champion, doesn't exist
    or can't be loaded, `LabError` for a share that isn't between 0 and 1.
    """
    if share is not None and not 0 < share < 1:
        raise LabError(f"the share of a canary is between 0 and 1, not {share:g}; 0.1 is one request in ten")
    champion = lab.champion(use_case.name)
    if champion.version == version:
        raise ModelError(f"version {version} is the champion of {use_case.name} already")
    lab.predictor(lab.registry.version(use_case.name, version)).check_example()
    # As the tag has it: a share of over nine digits is rounded, and one that becomes 0 is refused.
    trial = Trial.read(str(Trial(version, champion.version, share)))
    lab.registry.set_trial(use_case.name, trial)
    return trial


def end_trial(lab: Lab, use_case: UseCase) -> Trial:
    """Ends the trial. Raises `LabError` when there is none."""
    text = lab.registry.registered(use_case.name).facts.trial
    if not text:
        raise LabError(f"{use_case.name} has no trial")
    lab.registry.set_trial(use_case.name, None)
    return Trial.read(text)


def trial_of(lab: Lab, use_case: str) -> Trial | None:
    """The running trial, or None. Raises `ModelError` when its tag can't be read."""
    found = lab.registry.registered(use_case)
    trial = Trial.read(found.facts.trial) if found.facts.trial else None
    return trial if trial and trial.champion == found.aliases.get(CHAMPION) else None
