"""The promotion rule: whether a challenger's scores are enough to replace the champion. docs/decisions.md explains it.

A pure function of a policy and of per-row scores, so that a stored decision can be made again by another policy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlops_lab.contract import PromotionPolicy
from mlops_lab.formatting import number
from mlops_lab.metrics import METRICS, Metric
from mlops_lab.model.bootstrap import resample
from mlops_lab.model.row_scores import RowScores

# So that a sureness of 99.5 % is five resamples, and not one.
RESAMPLES = 1000


@dataclass(frozen=True)
class Verdict:
    """What the rule says, and what it was based on.

    waiting:  it isn't promoted, but the policy leaves it to a person.
    challenger_score, champion_score: the metric on the rows; None where it isn't defined.
    gain:     relative to the champion's error (`Metric.gain`); None when it isn't defined.
    interval: the 2.5 and 97.5 percentiles of the gain, in the metric's unit (positive is better, for every metric).
    sureness: the share of the resamples in which the challenger is better. Equal scores aren't better.
    """

    promoted: bool
    reason: str
    challenger_score: float | None = None
    champion_score: float | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    sureness: float | None = None
    waiting: bool = False


def judge(policy: PromotionPolicy, metric: Metric, scores: RowScores) -> Verdict:
    """Whether the policy replaces the champion, by the metric on these rows.

    Promoted when it is very sure, or when the gain reaches the margin and is sure; then only if no bound is broken.
    The interval and the sureness are by a paired bootstrap over groups: both models are scored on the same resamples
    (Efron and Tibshirani, An introduction to the bootstrap, 1993, chapter 13).
    """
    n = len(scores.truth)
    new, old = _both(metric, scores)
    if not (np.isfinite(new) and np.isfinite(old)):
        reason = f"{metric.name} isn't defined on the {n} test rows, so nothing is compared"
        defined = [value if np.isfinite(value) else None for value in (new, old)]
        return Verdict(False, reason, defined[0], defined[1])
    gains = _gains(metric, scores)
    low, high = np.percentile(gains, [2.5, 97.5]) if len(gains) else (np.nan, np.nan)
    sureness = float(np.mean(gains > 0)) if len(gains) else 0.0
    gain = metric.gain(new, old)
    outcome, words = _rule(policy, gain, sureness)
    found = f"{metric.name} {new:.4g} against {old:.4g} on the same {n} test rows, {_amount(gain)}"
    if len(gains):
        room = abs(new - old) / abs(gain) if np.isfinite(gain) and gain else 0.0
        interval = f", 95% interval {_percent(low / room)} to {_percent(high / room)}" if room else ""
        found += f"{interval}, better in {_share(sureness)} of the resamples"
    broken = next(_broken(policy, metric, scores), None) if outcome != "refused" else None
    if broken:
        outcome, reason = "refused", f"{broken} ({words}: {found})"
    else:
        limits = [f"{name} by {_percent(most)}" for name, most in _bounds(policy, metric).items()]
        limits += [f"any {name} by {_percent(most)}" for name, most in policy.slices.items()]
        kept = f"; no bound is broken: {', '.join(limits)}" if outcome != "refused" and limits else ""
        reason = f"{words}: {found}{kept}"
    finite = float(gain) if np.isfinite(gain) else None
    interval_found = (float(low), float(high)) if len(gains) else None
    return Verdict(
        promoted=outcome == "promoted",
        reason=reason,
        challenger_score=float(new),
        champion_score=float(old),
        gain=finite,
        interval=interval_found,
        sureness=sureness,
        waiting=outcome == "waiting",
    )


def _rule(policy: PromotionPolicy, gain: float, sureness: float) -> tuple[str, str]:
    """(promoted, refused or waiting; why in words), before the bounds."""
    if gain < 0:
        return "refused", "not better"
    enough, sure = gain >= policy.margin, sureness >= policy.sure
    margin = f"the margin of {_percent(policy.margin)}"
    if enough and sure:
        by = f"better by {margin}" if policy.margin else "better or equal"
        return "promoted", f"{by} and sure" if policy.sure else by
    if policy.very_sure is not None and sureness >= policy.very_sure:
        return "promoted", f"very surely better, within {margin}"
    if not (enough or sure):
        return "refused", "not better" if not gain else "not clearly better"
    lacking = (
        f"better by {margin}, but not in {_share(policy.sure)} of the resamples"
        if enough
        else f"surely better, but within {margin}"
    )
    outcome, does = {
        "keep": ("refused", "kept by the policy"),
        "promote": ("promoted", "promoted by the policy"),
        "ask": ("waiting", "left to a person"),
    }[policy.between]
    return outcome, f"{lacking}, {does}"


def _bounds(policy: PromotionPolicy, metric: Metric) -> dict[str, float]:
    """The second metrics, each with the largest loss: the metric's own and the policy's, which counts more."""
    return (dict([metric.gate]) if metric.gate else {}) | policy.bounds


def _broken(policy: PromotionPolicy, metric: Metric, scores: RowScores) -> Iterator[str]:
    """Each broken bound, in words."""
    for name, most in _bounds(policy, metric).items():
        second = METRICS[name]
        new, old = _both(second, scores)
        loss, naive = -second.gain(new, old), scores.baseline.get(name)
        if loss > most:
            yield f"its {name} {new:.4g} is worse than the champion's {old:.4g} by over {_percent(most)}"
        elif naive is not None and second.gain(new, naive) < 0 < loss:
            yield f"its {name} {new:.4g} is worse than the champion's {old:.4g} and than the naive {naive:.4g}"
    for feature, most in policy.slices.items():
        for value in np.unique(scores.slices[feature]):
            picked = np.flatnonzero(scores.slices[feature] == value)
            if len(picked) < policy.slice_rows:
                continue
            new, old = _both(metric, scores, picked)
            if not -metric.gain(new, old) > most:  # also where it isn't defined
                continue
            losses = -_gains(metric, scores, picked)
            worse = float(np.mean(losses > 0)) if len(losses) else 0.0
            if worse >= policy.sure:
                yield (
                    f"its {metric.name} for {feature} {value} {new:.4g} is worse than the champion's {old:.4g} by "
                    f"over {_percent(most)} ({len(picked)} rows, worse in {_share(worse)} of the resamples)"
                )


def _both(metric: Metric, scores: RowScores, picked: np.ndarray | slice = slice(None)) -> tuple[float, float]:
    """The metric of challenger and champion on these rows; a classifier by the threshold that it is served with."""
    new, old = scores.thresholds
    truth = scores.truth[picked]
    return metric(truth, scores.challenger[picked], new), metric(truth, scores.champion[picked], old)


def _gains(metric: Metric, scores: RowScores, rows: np.ndarray | None = None) -> np.ndarray:
    """By how much the challenger is better, in the metric's unit, on resamples of these rows."""
    rows = np.arange(len(scores.truth)) if rows is None else rows

    def gain(picked: np.ndarray) -> float:
        new, old = _both(metric, scores, rows[picked])
        return metric.sign * (new - old)

    return resample(scores.groups[rows], gain, RESAMPLES)


def _percent(share: float) -> str:
    """Two significant digits: a gain of 0.034 % isn't none."""
    return f"{number(100 * share, 2)}%"


def _share(share: float) -> str:
    """99.96 % isn't all: rounded down to a tenth."""
    return f"{np.floor(1000 * share) / 10:g}%"


def _amount(gain: float) -> str:
    return f"{_percent(abs(gain))} {'less' if gain > 0 else 'more'} error" if gain else "the same error"
