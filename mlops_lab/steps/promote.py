"""Which version is champion: a promotion by comparison, the rollout that confirms it, and the way back."""

from dataclasses import dataclass

from mlops_lab.data.tables import Promotion
from mlops_lab.errors import ModelError
from mlops_lab.formatting import counted
from mlops_lab.lab import Lab
from mlops_lab.model.compare import compare
from mlops_lab.model.registry import CHALLENGER, CHAMPION, PREVIOUS, Version
from mlops_lab.model.tags import BatchTags, VersionTags
from mlops_lab.rollout import RolloutError, check_replicas
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Outcome:
    """What became of a batch's challenger."""

    promoted: bool
    version: int | None
    reason: str


def promote(lab: Lab, use_case: UseCase, batch_id: int) -> Outcome:
    """The batch's best candidate by validation challenges the champion, on the test rows that are there now.

    Two promotions at once: the one that records its decision first wins, the other compares again with the new
    champion. Raises `ModelError` when no candidate is fit to serve.
    """
    batch = lab.ledger.batch(batch_id)
    versions = [
        lab.registry.version(use_case.name, v) for v in lab.ledger.models_of_batch(use_case.name, batch_id)
    ]
    # A batch may be trained twice (a retry, `lab train --force`): each candidate's newest version counts.
    made = list({version.facts.candidate: version for version in versions}.values())
    if not made:
        raise ModelError(f"no candidate of batch {batch.batch_number} is fit to serve; MLflow's runs say why")
    best = max(made, key=lambda version: use_case.metric.sign * version.facts.validation)
    lab.registry.set_alias(use_case.name, CHALLENGER, best.version)
    challenger = lab.predictor(best)
    holdout = lab.store.read_clean(use_case, split="test", until=batch_id)
    while True:
        history = lab.ledger.promotions(use_case.name)
        champion = lab.registry.by_alias(use_case.name, CHAMPION)
        if (done := next((row for row in history if row.challenger == best.version), None)) is not None:
            promoted, reason = (
                done.outcome == "promoted",
                done.reason,
            )  # a re-run: only the aliases may be missing
            champion = lab.registry.version(use_case.name, done.champion) if done.champion else None
            break
        found = compare(use_case, challenger, champion and lab.predictor(champion), holdout)
        promoted, reason = found.promoted, found.reason
        low, high = found.interval or (None, None)
        decision = Promotion(
            use_case=use_case.name,
            sequence=len(history) + 1,
            challenger=best.version,
            champion=champion and champion.version,
            outcome="promoted" if promoted else "refused",
            reason=reason,
            metric=found.metric,
            challenger_score=found.challenger_score,
            champion_score=found.champion_score,
            interval_low=low,
            interval_high=high,
            holdout_rows=found.holdout_rows,
            holdout_digest=found.holdout_digest,
        )
        if lab.ledger.put_promotion(decision):
            lab.tracking.log_json(
                batch.mlflow_run, "promotion.json", {**vars(found), "challenger": best.version}
            )
            break
        lab.progress("another promotion came first; comparing again with the new champion")
    outcome = "promoted" if promoted else "refused"
    if promoted:
        _set_champion(lab, use_case, best.version, champion and champion.version)
    lab.registry.tag(best, VersionTags(outcome=outcome, reason=reason))
    better = f"{best.facts.candidate} was better on validation"
    for loser in made:
        if loser.version != best.version:
            lab.registry.tag(loser, VersionTags(outcome="not chosen", reason=better))
    tags = BatchTags(outcome=outcome, outcome_reason=reason, version=best.version)
    lab.tracking.log(batch.mlflow_run, tags=tags)
    lab.progress(f"{best.facts.candidate} (version {best.version}) {outcome}: {reason}")
    return Outcome(promoted, best.version, reason)


def roll_out(lab: Lab, use_case: UseCase, batch_id: int | None, version: int) -> None:
    """Waits until every replica serves the version and predicts its example; else the alias goes back.

    Raises `RolloutError` after the alias went back.
    """
    try:
        predictor = lab.predictor(lab.registry.version(use_case.name, version))
        predictor.check_example()
        if lab.settings.inference_url:
            token = lab.settings.reload_token.get_secret_value() if lab.settings.reload_token else ""
            timeout = lab.settings.rollout_timeout
            seen = check_replicas(
                lab.settings.inference_url, token, timeout, use_case.name, version, predictor
            )
            lab.progress(f"version {version} is served by {counted(seen, 'replica')}")
        else:
            lab.progress(f"version {version} predicts its example")
    except (RolloutError, ModelError) as error:
        previous = lab.registry.by_alias(use_case.name, PREVIOUS)
        reason = f"{error}; the champion is again {f'version {previous.version}' if previous else 'none'}"
        _step_back(lab, use_case, version, previous, reason)
        if batch_id is not None:
            run = lab.ledger.batch(batch_id).mlflow_run
            lab.tracking.log(run, tags=BatchTags(outcome="rolled back", outcome_reason=reason))
        raise RolloutError(reason) from error


def roll_back(lab: Lab, use_case: UseCase, version: int | None = None) -> int:
    """Makes an earlier version champion again: the one named, else `previous`. Returns its number."""
    current = lab.registry.by_alias(use_case.name, CHAMPION)
    target = (
        lab.registry.version(use_case.name, version)
        if version is not None
        else lab.registry.by_alias(use_case.name, PREVIOUS)
    )
    if target is None:
        raise ModelError(f"{use_case.name} has no previous champion to go back to")
    if current is not None and current.version == target.version:
        raise ModelError(f"version {target.version} of {use_case.name} is the champion already")
    lab.predictor(target).check_example()
    _step_back(lab, use_case, current.version if current else target.version, target, "rolled back by hand")
    return target.version


def _set_champion(lab: Lab, use_case: UseCase, version: int, before: int | None) -> None:
    if before is not None and before != version:
        lab.registry.set_alias(use_case.name, PREVIOUS, before)
    lab.registry.set_alias(use_case.name, CHAMPION, version)


def _step_back(lab: Lab, use_case: UseCase, version: int, target: Version | None, reason: str) -> None:
    if target is None:
        lab.registry.delete_alias(use_case.name, CHAMPION)
    else:
        lab.registry.set_alias(use_case.name, CHAMPION, target.version)
    recorded = False
    while not recorded:
        # Another decision can take the number first; then this one gets the next number.
        recorded = lab.ledger.put_promotion(
            Promotion(
                use_case=use_case.name,
                sequence=len(lab.ledger.promotions(use_case.name)) + 1,
                challenger=version,
                champion=target and target.version,
                outcome="rolled back",
                reason=reason,
            )
        )
    tags = VersionTags(outcome="rolled back", reason=reason)
    lab.registry.tag(lab.registry.version(use_case.name, version), tags)
