"""`GET /models/{use_case}/live`: what the newest monitoring check found, and the live score of each version."""

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import Engine, select
from sqlalchemy.orm import sessionmaker

from inference.champions import Champions
from inference.database import ask
from inference.openapi import refusals
from mlops_lab.data.ledger import Ledger
from mlops_lab.data.tables import LiveScore

# A check stores fewer.
MOST = 100


class Score(BaseModel):
    """One version in one arm: champion, canary, shadow, or earlier for one that answered before.

    score: None while fewer predictions than needed have a ground truth. checked_at: UTC.
    """

    version: int
    arm: str
    metric: str
    labelled: int
    score: float | None
    checked_at: str


class Checked(BaseModel):
    """The newest monitoring check: the champion's predictions and their ground truth beside its test rows.

    rows: predictions that were compared; labelled: those with a ground truth. live_score: None while these are too few.
    estimated_score: of predictions without a ground truth, with 95 % of its draws; None where it can't be told.
    test_low, test_high: the 95 % interval of test_score; None without an estimate. psi: of the feature that moved most.
    passed: a bound was passed. retrain: a training was requested. run_id: the MLflow run with the report.
    """

    version: int
    checked_at: str
    metric: str
    rows: int
    labelled: int
    live_score: float | None
    test_score: float | None
    test_low: float | None
    test_high: float | None
    estimated_score: float | None
    estimated_low: float | None
    estimated_high: float | None
    estimated_worse: bool | None
    psi: float | None
    feature: str | None
    passed: bool
    retrain: bool
    reason: str
    run_id: str | None


class Scores(BaseModel):
    """live: by version and arm. check: None before the first one."""

    use_case: str
    live: list[Score]
    check: Checked | None


def router(champions: Champions, database: Engine) -> APIRouter:
    """The route. It reads the checks' results, and no prediction and no feedback."""
    routes = APIRouter(tags=["models"])
    session, ledger = sessionmaker(database), Ledger(database)

    def newest(use_case: str) -> tuple[list[Score], Checked | None]:
        found = select(LiveScore).where(LiveScore.use_case == use_case)
        with session() as db:
            rows = list(db.scalars(found.order_by(LiveScore.version, LiveScore.arm).limit(MOST)))
        names = ("version", "arm", "metric", "labelled", "score")
        scores = [
            Score(**{name: getattr(row, name) for name in names}, checked_at=f"{row.checked_at.isoformat()}Z")
            for row in rows
        ]
        if (last := ledger.last_check(use_case)) is None:
            return scores, None
        facts = {name: getattr(last, name) for name in Checked.model_fields}
        return scores, Checked(**facts | {"checked_at": f"{last.checked_at.isoformat()}Z"})

    @routes.get(
        "/models/{use_case}/live",
        summary="The metric on live predictions: measured with ground truth, and estimated before it comes",
        responses=refusals(404, 422, 503),
    )
    async def live(use_case: str) -> Scores:
        name = champions.get(use_case).use_case
        scores, check = await ask("live scores", newest, name)
        return Scores(use_case=name, live=scores, check=check)

    return routes
