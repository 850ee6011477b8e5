"""The promotion rule: its parts one by one, and how often it is wrong over many batches."""

from dataclasses import replace

import numpy as np
import pytest

from mlops_lab.contract import PromotionPolicy
from mlops_lab.errors import ModelError, UseCaseError
from mlops_lab.metrics import MAE, MAPE, RMSE, ROC_AUC
from mlops_lab.model.judge import judge
from mlops_lab.model.row_scores import RowScores
from tests.support.cases import small_case

DEFAULT = PromotionPolicy()


def prices(random, n: int, gain: float = 0.0, alike: float = 0.9, **facts) -> RowScores:
    """Two models of n prices whose errors are alike; the challenger's are smaller by the share `gain`.

    Most of the error is the same for both, as for two models of one data set; it has heavy tails, as prices have.
    """
    truth, shared = random.normal(100, 20, n), random.standard_t(4, n)
    old, new = (alike * shared + np.sqrt(1 - alike**2) * random.standard_t(4, n) for _ in range(2))
    return RowScores(
        truth=truth,
        challenger=truth + (1 - gain) * new,
        champion=truth + old,
        groups=np.arange(n),
        **facts,
    )


def fixed(old: float, new: float, n: int = 400, noise: float = 0.0, **facts) -> RowScores:
    """Errors of known size: the champion's `old`, the challenger's `new`, each with some noise."""
    random = np.random.default_rng(5)
    truth = random.normal(100, 20, n)
    return RowScores(
        truth=truth,
        challenger=truth + new * (1 + noise * random.normal(size=n)),
        champion=truth + old * (1 + noise * random.normal(size=n)),
        groups=np.arange(n),
        **facts,
    )


@pytest.mark.parametrize(
    ("new", "noise", "policy", "promoted", "words"),
    [
        (0.97, 0.05, {}, True, "better by the margin of 1% and sure: rmse "),
        (0.992, 0.01, {}, True, "very surely better, within the margin of 1%: rmse "),
        (0.998, 0.03, {}, False, "not clearly better: rmse "),
        (1.0, 0.0, {}, False, "not better: rmse 1 against 1 on the same 400 test rows, the same error, better in 0%"),
        (1.03, 0.05, {}, False, "not better: rmse "),
        (0.97, 0.05, {"margin": 0.05, "very_sure": None}, False, "surely better, but within the margin of 5%, kept"),
        (0.97, 0.05, {"margin": 0.05, "very_sure": None, "between": "promote"}, True, "surely better, but within"),
        (0.97, 0.9, {}, False, "better by the margin of 1%, but not in 97.5% of the resamples, kept by "),
        (0.97, 0.9, {"between": "promote"}, True, "better by the margin of 1%, but not in 97.5% of the resamples, "),
        (0.97, 0.9, {"between": "ask"}, None, "better by the margin of 1%, but not in 97.5% of the resamples, left"),
        (0.998, 0.03, {"between": "ask"}, False, "not clearly better: rmse "),
        (0.97, 0.05, {"between": "ask"}, True, "better by the margin of 1% and sure: rmse "),
        (1.0, 0.0, {"margin": 0, "sure": 0}, True, "better or equal: rmse "),
    ],
)  # fmt: skip
def test_margin_and_sureness_decide_and_the_reason_says_how(new, noise, policy, promoted, words):
    """promoted: None when it is left to a person."""
    found = judge(PromotionPolicy(**policy), RMSE, fixed(1.0, new, noise=noise))
    assert (None if found.waiting else found.promoted, found.reason[: len(words)]) == (promoted, words)
    assert not (found.waiting and found.promoted)


def test_a_second_metric_beyond_its_bound_keeps_the_champion():
    # A few rows become very wrong: the mean error falls, the root of the mean square rises.
    random = np.random.default_rng(5)
    truth, errors = random.normal(100, 20, 400), np.ones(400)
    better = np.where(np.arange(400) < 8, 5.0, 0.8)
    scores = RowScores(truth, truth + better, truth + errors, np.arange(400))
    assert judge(DEFAULT, MAE, scores).promoted
    bound = PromotionPolicy(bounds={"rmse": 0.01})
    found = judge(bound, MAE, scores)
    assert not found.promoted
    assert found.reason.startswith(
        "its rmse 1.062 is worse than the champion's 1 by over 1% (better by the margin"
    )
    assert judge(PromotionPolicy(bounds={"rmse": 0.1}), MAE, scores).reason.endswith(
        "; no bound is broken: rmse by 10%"
    )
    # A broken bound is no borderline case: nobody is asked.
    ask = PromotionPolicy(bounds={"rmse": 0.01}, margin=1, very_sure=None, between="ask")
    asked, broken = judge(ask.model_copy(update={"bounds": {}}), MAE, scores), judge(ask, MAE, scores)
    assert (asked.waiting, broken.waiting, broken.promoted) == (True, False, False)
    assert broken.reason.startswith(
        "its rmse 1.062 is worse than the champion's 1 by over 1% (surely better, but"
    )
    naive = judge(PromotionPolicy(bounds={"rmse": 0.1}), MAE, replace(scores, baseline={"rmse": 1.05}))
    assert naive.reason.startswith("its rmse 1.062 is worse than the champion's 1 and than the naive 1.05 (")


def test_a_slice_that_is_surely_worse_keeps_the_champion():
    n = 600
    truth, part = np.full(n, 100.0), np.repeat(["north", "south", "islet"], [400, 150, 50])
    error = np.select([part == "north", part == "south"], [0.5, 1.3], 9.0)
    scores = RowScores(truth, truth + error, truth + 1.0, np.arange(n), {"district": part})
    policy = PromotionPolicy(slices={"district": 0.05}, slice_rows=100)
    assert judge(DEFAULT, MAPE, scores).promoted is False  # the islet counts in the whole
    big = RowScores(*(array[:550] for array in (scores.truth, scores.challenger, scores.champion, scores.groups)),
                    slices={"district": part[:550]})  # fmt: skip
    assert judge(DEFAULT, MAPE, big).promoted
    found = judge(policy, MAPE, big)
    assert found.reason.startswith(
        "its mape for district south 0.013 is worse than the champion's 0.01 by over 5%"
    )
    assert "(150 rows, worse in 100% of the resamples)" in found.reason
    # A slice of fewer rows says nothing, and neither does a difference that chance explains.
    assert judge(policy.model_copy(update={"slice_rows": 151}), MAPE, big).promoted
    noise = np.where((part[:550] == "south") & (np.arange(550) % 2 > 0), 3.0, big.challenger - 100)
    unsure = replace(
        big, challenger=100 + np.where(part[:550] == "south", np.where(noise == 3.0, 2.2, 0.0), 0.5)
    )
    assert judge(policy, MAPE, unsure).promoted


def test_a_policy_names_only_what_the_use_case_has():
    small_case(
        "regression", promotion=PromotionPolicy(bounds={"mae": 0}, slices={"district": 0.1, "balcony": 0.1})
    )
    for policy, words in (
        (PromotionPolicy(bounds={"roc_auc": 0.1}), "bounds of unknown metrics: roc_auc; there are rmse, mae"),
        (PromotionPolicy(slices={"area": 0.1}), "slices by area, which is no category and no boolean"),
    ):
        with pytest.raises(UseCaseError, match=words):
            small_case("regression", promotion=policy)


@pytest.mark.parametrize("metric", [RMSE, ROC_AUC], ids=lambda metric: metric.name)
def test_the_same_verdict_comes_from_the_stored_scores(metric):
    random = np.random.default_rng(3)
    scores = prices(
        random, 300, 0.05, slices={"district": random.choice(["a", "b"], 300)}, worse_live="worse"
    )
    if metric is ROC_AUC:
        columns = [np.column_stack([1 - p, p]).astype(np.float32) for p in random.random((2, 300))]
        scores = replace(
            scores, truth=(random.random(300) < 0.3) * 1.0, challenger=columns[0], champion=columns[1],
            thresholds=(0.3, 0.4), baseline={"brier": 0.2},
        )  # fmt: skip
    else:
        # The graph's output is float32.
        scores = replace(
            scores,
            challenger=scores.challenger.astype(np.float32),
            champion=scores.champion.astype(np.float32),
        )
    content = scores.to_parquet()
    assert len(content) < 40 * 300 + 4000
    policy = PromotionPolicy(slices={"district": 0.01}, slice_rows=20)
    again = RowScores.from_parquet(content)
    assert judge(policy, metric, again) == judge(policy, metric, scores)
    assert again.worse_live == "worse"
    for damaged in (b"", content[:-50], b"PAR1" * 20):
        with pytest.raises(ModelError, match="the per-row scores can't be read"):
            RowScores.from_parquet(damaged)


@pytest.mark.slow
def test_over_200_batches_without_a_real_gain_at_most_5_percent_are_replaced():
    """A margin alone would replace by chance. docs/decisions.md has the study with more batches."""
    random = np.random.default_rng(1)
    found = [judge(DEFAULT, RMSE, prices(random, 400)) for _ in range(200)]
    assert np.mean([verdict.promoted for verdict in found]) <= 0.05
    assert np.mean([verdict.gain >= DEFAULT.margin for verdict in found]) > 0.2


@pytest.mark.slow
def test_a_true_gain_of_twice_the_margin_is_found_within_three_batches():
    """Each batch brings 1,000 test rows and a new challenger."""
    random = np.random.default_rng(2)

    def is_found() -> bool:
        return any(
            judge(DEFAULT, RMSE, prices(random, 1000 * number, 2 * DEFAULT.margin, alike=0.98)).promoted
            for number in (1, 2, 3)
        )

    assert np.mean([is_found() for _ in range(30)]) >= 0.9
