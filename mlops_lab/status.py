"""The state of one use case: the champion with its scores, the number of versions, the batches."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mlops_lab.data.ledger import holdout_readers
from mlops_lab.data.tables import LiveScore, Promotion
from mlops_lab.data.waiting import waiting
from mlops_lab.errors import LabError, ModelError, ServiceError, foreign_errors_as_lines
from mlops_lab.formatting import counted, holdout_words
from mlops_lab.lab import Lab
from mlops_lab.model.registry import CHAMPION, Version
from mlops_lab.steps.trial import trial_of


@dataclass(frozen=True)
class ChampionStatus:
    """The champion as its contract describes it.

    test, baseline: the use case's metric of the model and of the naive baseline on the test rows; None when there are
    no test rows, or it isn't defined on them. rows, batches: how many of each the champion was trained on. reason: why
    it was promoted. sealed: the metric on the sealed rows, with its interval and number of rows; None before it was
    measured. sealed_words: the same in words, empty before.
    holdout_uses: how many promotion decisions have read the test rows so far, the first at holdout_since (None without
    one).
    """

    version: int
    candidate: str
    metric: str
    test: float | None
    baseline: float | None
    rows: int
    batches: int
    run_id: str
    reason: str
    sealed: float | None = None
    sealed_low: float | None = None
    sealed_high: float | None = None
    sealed_rows: int | None = None
    sealed_words: str = ""
    holdout_uses: int = 0
    holdout_since: str | None = None

    @property
    def scores(self) -> str:
        """The metric of model and baseline, in words."""
        if self.test is None or self.baseline is None:
            return f"{self.metric} unknown, no test rows yet"
        return f"{self.metric} {self.test:.4g} on test rows; naive baseline {self.baseline:.4g}"

    @property
    def origin(self) -> str:
        """The numbers of rows and batches of the champion's training, in words."""
        return f"trained on {self.rows:,} rows of {counted(self.batches, 'batch', 'batches')}"

    @property
    def sealed_line(self) -> str:
        """The score on the sealed rows, and how often the test rows were used, in words."""
        return f"{self.sealed_words or 'no sealed rows yet'}; {holdout_words(self.holdout_uses, self.holdout_since)}"


def champion_status(lab: Lab, champion: Version) -> ChampionStatus:
    """Raises `ModelError` when the champion's files don't match its recorded digest."""
    contract = lab.predictor(champion).contract
    lineage = contract.lineage
    if lineage is None:
        raise ModelError(f"version {champion.version} of {champion.use_case} has no lineage")
    facts, readers = champion.facts, holdout_readers(lab.ledger.promotions(champion.use_case))
    return ChampionStatus(
        version=champion.version,
        candidate=lineage.candidate,
        metric=contract.metric,
        test=contract.test_score,
        baseline=contract.baseline_score,
        rows=lineage.learnt_rows,
        batches=len(lineage.read_batches),
        run_id=champion.run_id,
        reason=facts.reason,
        sealed=facts.sealed,
        sealed_low=facts.sealed_low,
        sealed_high=facts.sealed_high,
        sealed_rows=facts.sealed_rows,
        sealed_words=facts.sealed_words,
        holdout_uses=len(readers),
        holdout_since=str(readers[0].decided_at.date()) if readers else None,
    )


def status(lab: Lab, name: str, away: dict[str, str] | None = None) -> dict[str, Any]:
    """The state of one use case as JSON types; `champion` is None before the first promotion.

    away: what an earlier call found out about services that don't answer. They aren't asked again, which would only
          wait again; this call adds what it finds.
    trial: the running trial in words, None when there is none. live: the live scores of the newest monitoring check.
    waiting: the decision that a person is asked for, None without one.
    estimated: its estimate of the champion's score without ground truth, in words; None without one.
    unknown: by part (`batches`, `versions`, `champion`) the reason why it can't be told now; its value is then None.
    """
    use_case = lab.use_case(name)
    unknown: dict[str, str] = {}
    away = {} if away is None else away
    live: list[LiveScore] = []
    estimated: str | None = None
    trial: str | None = None
    asked: Promotion | None = None

    def ask(part: str, answer: Callable[[], Any]) -> Any:
        try:
            with foreign_errors_as_lines():
                return answer()
        except LabError as error:
            unknown[part] = str(error)
            return None

    def batches() -> list[dict[str, Any]]:
        nonlocal live, estimated, asked
        lab.store.prepare_tables(use_case)
        live = lab.ledger.live_scores(name)
        asked = waiting(lab.ledger.promotions(name))
        last, standing = lab.ledger.last_check(name), lab.ledger.standing(name)
        if last and standing and last.version == standing.champion:
            estimated = last.estimate or None
        return [asdict(batch) for batch in lab.ledger.batches(name)]

    def champion() -> dict[str, Any] | None:
        nonlocal trial
        if "versions" in unknown:
            # The registry doesn't answer: a second question would only wait again.
            raise ServiceError(unknown["versions"])
        trial = _trial(lab, name)
        found = lab.registry.by_alias(name, CHAMPION)
        return asdict(champion_status(lab, found)) if found else None

    def versions() -> int:
        if "MLflow" in away:
            raise ServiceError(away["MLflow"])
        try:
            with foreign_errors_as_lines():
                return len(lab.registry.versions(name))
        except ServiceError as error:
            away["MLflow"] = str(error)
            raise

    return {
        "use_case": name,
        "batches": ask("batches", batches),
        "versions": ask("versions", versions),
        "champion": ask("champion", champion),
        "trial": trial,
        "waiting": asdict(asked) if asked else None,
        "live": [asdict(score) for score in live],
        "estimated": estimated,
        "unknown": unknown,
    }


def _trial(lab: Lab, name: str) -> str | None:
    """The running trial in words, or what is wrong with its tag."""
    try:
        found = trial_of(lab, name)
    except ModelError as error:
        return str(error)
    return str(found) if found else None
