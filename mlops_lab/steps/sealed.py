"""The sealed rows: a champion is scored on them once, after it became champion, and nothing is decided by the score.

docs/decisions.md says why. The version's tags have the score (`mlops_lab/model/tags.py`).
"""

import numpy as np

from mlops_lab.data.split import SEALED
from mlops_lab.errors import LabError, first_line, foreign_errors_as_lines
from mlops_lab.lab import Lab
from mlops_lab.metrics import METRICS
from mlops_lab.model.bootstrap import resample
from mlops_lab.model.compare import unscorable
from mlops_lab.model.predicted import predicted
from mlops_lab.model.registry import Version
from mlops_lab.model.tags import VersionTags
from mlops_lab.use_case import UseCase


def score_once(lab: Lab, use_case: UseCase, champion: Version) -> None:
    """Scores the champion on the sealed rows that are stored now, unless that was done before.

    Without a sealed row, or where the metric isn't defined on them, the next call tries again. No fault of this report
    stops the loop: it is one line, and the next call tries again.
    """
    if champion.facts.sealed is not None:
        return
    try:
        with foreign_errors_as_lines():
            tags = _scored(lab, use_case, champion)
            if tags is None:
                return
            lab.registry.tag(champion, tags)
    except LabError as error:
        lab.progress(f"version {champion.version} isn't scored on the sealed rows yet: {first_line(error)}")
        return
    lab.progress(f"version {champion.version}: {tags.sealed_words}")


def _scored(lab: Lab, use_case: UseCase, champion: Version) -> VersionTags | None:
    """The score with its 95 % bootstrap interval over groups; None when there is none."""
    frame = lab.snapshots.read(use_case, split=SEALED)
    if frame.empty:
        return None
    predictor, _ = lab.predictor_or_fault(champion)
    if predictor is None or unscorable(use_case, predictor.contract):
        return None
    contract, metric = predictor.contract, METRICS[predictor.contract.metric]
    truth = contract.encode_target(frame[use_case.target.name])
    output = predicted(predictor, frame)

    def score(picked: np.ndarray) -> float:
        return metric(truth[picked], output[picked], contract.threshold)

    found = score(np.arange(len(frame)))
    if not np.isfinite(found):
        return None
    samples = resample(frame["group_hash"].to_numpy(), score)
    low, high = (
        (float(bound) for bound in np.percentile(samples, [2.5, 97.5])) if len(samples) else (None, None)
    )
    return VersionTags(
        metric=contract.metric, sealed=float(found), sealed_low=low, sealed_high=high, sealed_rows=len(frame)
    )
