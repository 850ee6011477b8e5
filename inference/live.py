"""`GET /models/{use_case}/live`: the live score of each version, as the newest monitoring check found it."""

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import Engine, select
from sqlalchemy.orm import sessionmaker

from inference.champions import Champions
from inference.database import ask
from inference.openapi import refusals
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


class Scores(BaseModel):
    """By version and arm."""

    use_case: str
    live: list[Score]


def router(champions: Champions, database: Engine) -> APIRouter:
    """The route. The database account may read these scores, and no prediction and no feedback."""
    routes = APIRouter(tags=["models"])
    session = sessionmaker(database)

    def newest(use_case: str) -> list[Score]:
        found = select(LiveScore).where(LiveScore.use_case == use_case)
        with session() as db:
            rows = list(db.scalars(found.order_by(LiveScore.version, LiveScore.arm).limit(MOST)))
        names = ("version", "arm", "metric", "labelled", "score")
        return [
            Score(**{name: getattr(row, name) for name in names}, checked_at=f"{row.checked_at.isoformat()}Z")
            for row in rows
        ]

    @routes.get(
        "/models/{use_case}/live",
        summary="The metric on predictions with a ground truth, by version and arm",
        responses=refusals(404, 422, 503),
    )
    async def live(use_case: str) -> Scores:
        name = champions.get(use_case).use_case
        return Scores(use_case=name, live=await ask("live scores", newest, name))

    return routes
