"""Which version is champion: promotion by comparison, the rollout to the service, and the rollback."""

import math
from dataclasses import dataclass

from mlops_lab.data.tables import Batch, Promotion
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
    """The result of a batch's promotion. version: the challenger."""

    promoted: bool
    version: int
    reason: str


def promote(lab: Lab, use_case: UseCase, batch_id: int) -> Outcome:
    """The batch's best candidate by validation challenges the champion, on the test rows that are stored now.

    When two promotions run at once, the one that records its decision first wins, and the other compares again with
    the new champion. Raises `ModelError` when no candidate can be served.
    """
    batch = lab.ledger.batch(batch_id)
    numbers = lab.ledger.models_of_batch(use_case.name, batch_id)
    versions = [lab.registry.version(use_case.name, number) for number in numbers]
    # A batch can be trained twice (a retry, `lab train --force`): each candidate's newest version counts.
    candidates = list({version.facts.candidate: version for version in versions}.values())
    if not candidates:
        raise ModelError(
            f"no candidate of batch {batch.batch_number} can be served; MLflow's runs have the reasons"
        )
    best = max(candidates, key=lambda version: _validation(use_case, version))
    lab.registry.set_alias(use_case.name, CHALLENGER, best.version)

    decision = _decide(lab, use_case, batch, best)
    promoted = decision.outcome == "promoted"
    if promoted:
        if decision.champion is not None and decision.champion != best.version:
            lab.registry.set_alias(use_case.name, PREVIOUS, decision.champion)
        lab.registry.set_alias(use_case.name, CHAMPION, best.version)
    outcome = "promoted" if promoted else "refused"
    lab.registry.tag(best, VersionTags(outcome=outcome, reason=decision.reason))
    better = f"{best.facts.candidate} was better on validation"
    for other in candidates:
        if other.version != best.version:
            lab.registry.tag(other, VersionTags(outcome="not chosen", reason=better))
    tags = BatchTags(outcome=outcome, outcome_reason=decision.reason, version=best.version)
    lab.tracking.log(batch.run, tags=tags)
    lab.progress(f"{best.facts.candidate} (version {best.version}) {outcome}: {decision.reason}")
    return Outcome(promoted, best.version, decision.reason)


def _validation(use_case: UseCase, version: Version) -> float:
    """The version's score on the validation rows, turned so that greater is better."""
    score = version.facts.validation
    return -math.inf if score is None else use_case.metric.sign * score


def _decide(lab: Lab, use_case: UseCase, batch: Batch, challenger: Version) -> Promotion:
    """The recorded decision on the challenger: an earlier run's, or a new one by comparison."""
    predictor = lab.predictor(challenger)
    holdout = lab.store.read_clean(use_case, split="test", until=batch.id)
    while True:
        history = lab.ledger.promotions(use_case.name)
        if (done := next((row for row in history if row.challenger == challenger.version), None)) is not None:
            # An earlier run recorded it and was stopped before it moved the aliases.
            return done
        champion = lab.registry.by_alias(use_case.name, CHAMPION)
        found = compare(use_case, predictor, lab.predictor(champion) if champion else None, holdout)
        low, high = found.interval or (None, None)
        decision = Promotion(
            use_case=use_case.name,
            sequence=len(history) + 1,
            challenger=challenger.version,
            champion=champion.version if champion else None,
            outcome="promoted" if found.promoted else "refused",
            reason=found.reason,
            metric=found.metric,
            challenger_score=found.challenger_score,
            champion_score=found.champion_score,
            interval_low=low,
            interval_high=high,
            holdout_rows=found.holdout_rows,
            holdout_digest=found.holdout_digest,
        )
        if lab.ledger.put_promotion(decision):
            evidence = {**vars(found), "challenger": challenger.version}
            lab.tracking.log_json(batch.run, "promotion.json", evidence)
            return decision
        lab.progress("another promotion came first; comparing again with the new champion")


def roll_out(lab: Lab, use_case: UseCase, batch_id: int | None, version: int) -> None:
    """Waits until every replica serves the version and predicts its example.

    When one doesn't, the previous champion gets the alias again, and `RolloutError` is raised.
    """
    try:
        predictor = lab.predictor(lab.registry.version(use_case.name, version))
        predictor.check_example()
        if lab.settings.inference_url:
            token = lab.settings.reload_token.get_secret_value() if lab.settings.reload_token else ""
            timeout = lab.settings.rollout_timeout
            replicas = check_replicas(
                lab.settings.inference_url, token, timeout, use_case.name, version, predictor
            )
            lab.progress(f"version {version} is served by {counted(replicas, 'replica')}")
        else:
            lab.progress(f"version {version} predicts its example")
    except (RolloutError, ModelError) as error:
        previous = lab.registry.by_alias(use_case.name, PREVIOUS)
        reason = f"{error}; the champion is again {f'version {previous.version}' if previous else 'none'}"
        _revert(lab, use_case, version, previous, reason)
        if batch_id is not None:
            tags = BatchTags(outcome="rolled back", outcome_reason=reason)
            lab.tracking.log(lab.ledger.batch(batch_id).run, tags=tags)
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
    _revert(lab, use_case, current.version if current else target.version, target, "rolled back by hand")
    return target.version


def _revert(lab: Lab, use_case: UseCase, version: int, target: Version | None, reason: str) -> None:
    """Makes `target` champion instead of `version`, and records it."""
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
                champion=target.version if target else None,
                outcome="rolled back",
                reason=reason,
            )
        )
    tags = VersionTags(outcome="rolled back", reason=reason)
    lab.registry.tag(lab.registry.version(use_case.name, version), tags)
