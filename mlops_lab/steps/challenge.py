"""One challenge: a version against the champion on the same test rows, and the record of the decision."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from mlops_lab.data.ledger import standing
from mlops_lab.data.tables import Promotion
from mlops_lab.data.waiting import superseded
from mlops_lab.lab import Lab
from mlops_lab.model.compare import Comparison, compare
from mlops_lab.model.live import LiveComparison
from mlops_lab.model.registry import CHALLENGER, CHAMPION, Version
from mlops_lab.steps.live import compare_arms
from mlops_lab.use_case import UseCase


@dataclass(frozen=True)
class Person:
    """Who decides what a comparison doesn't, and why, which may be empty; both for the record."""

    who: str
    why: str

    @property
    def name(self) -> str:
        """As the ledger keeps it."""
        return self.who[:80]

    def __str__(self) -> str:
        why = " ".join(self.why.split())
        return f"{self.name}: {why}" if why else self.name


@dataclass(frozen=True)
class Ruling:
    """What is decided before a comparison is made.

    who: the person, None for the policy. words: for the record. whatever: promoted whatever the comparison says; else
    only when it says so or leaves it to a person.
    """

    who: str | None
    words: str
    whatever: bool = False

    def on(self, found: Comparison) -> Comparison:
        promoted = self.whatever or found.promoted or found.waiting
        reason = f"{self.words}; the comparison: {found.reason}"
        return replace(found, promoted=promoted, waiting=False, reason=reason)


def challenge(
    lab: Lab,
    use_case: UseCase,
    challenger: Version,
    until: int,
    run: str,
    history: Sequence[Promotion],
    ruling: Ruling | None = None,
    *,
    again: bool = True,
) -> Promotion | None:
    """Compares the challenger with the champion by this history, and records the decision as the next one.

    until: the newest batch of the test rows. run: keeps the evidence. ruling: what a person says to the comparison.
    again: the challenger may have been decided on before. None: another decision was recorded first.
    """
    predictor = lab.predictor(challenger)
    holdout = lab.snapshots.read(use_case, split="test", until=until)
    lab.registry.set_alias(use_case.name, CHALLENGER, challenger.version)
    champion = champion_by(lab, use_case.name, history)
    opponent, fault = lab.predictor_or_fault(champion) if champion else (None, "")
    origin = opponent.contract.lineage if opponent else None
    if origin and origin.split_day != use_case.split_day:
        opponent, fault = (
            None,
            "the champion's rows were split otherwise, so it has learnt from rows that test now",
        )
    found = compare(use_case, predictor, opponent, holdout)
    if fault:
        # No new replica could serve that champion either, so it doesn't stop its successor.
        found = replace(found, reason=f"{fault}; therefore no comparison: {found.reason}")
    live: list[LiveComparison] = []
    if champion and opponent:
        live = compare_arms(lab, challenger, predictor.contract, champion, opponent.contract)
        found = _with_live(found, live)
    if ruling:
        found = ruling.on(found)
    outcome = "promoted" if found.promoted else "waiting" if found.waiting else "refused"
    ended = superseded(history, challenger.version, outcome)
    sequence = len(history) + len(ended) + 1
    evidence = None
    if found.rows is not None:
        # Before the decision, so that a recorded one always has its evidence.
        name = f"promotion-{sequence}.parquet"
        evidence = f"{run}/{name}"
        scores = replace(found.rows, worse_live=_worse_live(live))
        lab.tracking.log_bytes(run, name, scores.to_parquet())
    low, high = found.interval or (None, None)
    decision = Promotion(
        use_case=use_case.name,
        sequence=sequence,
        challenger=challenger.version,
        champion=champion.version if champion else None,
        outcome=outcome,
        reason=found.reason,
        metric=found.metric,
        challenger_score=found.challenger_score,
        champion_score=found.champion_score,
        interval_low=low,
        interval_high=high,
        sureness=found.sureness,
        holdout_rows=found.holdout_rows,
        holdout_digest=found.holdout_digest,
        evidence=evidence,
        decided_by=ruling.who if ruling else None,
    )
    if outcome == "waiting":
        decision.waits_until = decision.decided_at + timedelta(hours=use_case.promotion.ask_hours)
        decision.default_outcome = "promoted" if use_case.promotion.ask_default == "promote" else "refused"
    if not lab.ledger.put_promotion(*ended, decision):
        return None
    facts = {
        **{name: value for name, value in vars(found).items() if name != "rows"},
        "policy": use_case.promotion.model_dump(),
        "challenger": challenger.version,
        "champion": champion.version if champion else None,
        "live": [vars(one) for one in live],
    }
    # A version may be decided on more than once by hand.
    name = f"promotion-{sequence}.json" if again else "promotion.json"
    lab.tracking.log_json(run, name, facts)
    return decision


def _with_live(found: Comparison, live: Sequence[LiveComparison]) -> Comparison:
    """The comparison with what live traffic says: who is clearly worse there isn't promoted."""
    if not live:
        return found
    said = "; ".join(map(str, live))
    if (found.promoted or found.waiting) and _worse_live(live):
        return replace(
            found, promoted=False, waiting=False, reason=f"worse with callers: {said} ({found.reason})"
        )
    return replace(found, reason=f"{found.reason}; {said}")


def _worse_live(live: Sequence[LiveComparison]) -> str:
    """What live traffic says against the challenger; empty when it isn't worse there."""
    return "; ".join(map(str, live)) if any(one.worse for one in live) else ""


def champion_by(lab: Lab, use_case: str, history: Sequence[Promotion]) -> Version | None:
    """The champion by these decisions; before the first one, by the alias."""
    found = standing(history)
    if found is None:
        return lab.registry.by_alias(use_case, CHAMPION)
    if found.champion is None or not lab.registry.has(use_case, found.champion):
        return None
    return lab.registry.version(use_case, found.champion)
