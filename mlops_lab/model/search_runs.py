"""The points of a tuned candidate's search as runs in MLflow, children of the candidate's run.

MLflow's pages compare them, and a search that was interrupted goes on with them.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256

from mlops_lab.candidates import Candidate
from mlops_lab.model.lineage import commit, libraries
from mlops_lab.model.tags import CandidateTags, PointTags
from mlops_lab.model.tracking import Tracking
from mlops_lab.model.tuner import Point
from mlops_lab.use_case import UseCase


class SearchRuns:
    """The journal of one candidate's run.

    run: the candidate's run, with these tags. digest: of the rows of CleanData that it learns from.
    """

    def __init__(
        self,
        tracking: Tracking,
        use_case: UseCase,
        candidate: Candidate,
        digest: str,
        run: str,
        tags: CandidateTags,
    ):
        self._tracking = tracking
        self._use_case = use_case.name
        self._metric = use_case.metric.name
        self._run = run
        self._tags = tags
        self._search = _search(use_case, candidate, digest)

    def adopt(self, batch_run: str) -> None:
        """Takes over the points of earlier runs of the candidate for the same batch that came to no end."""
        for run, tags in self._tracking.children(self._use_case, batch_run, unfinished=True):
            if run != self._run and CandidateTags.from_mlflow(tags).candidate == self._tags.candidate:
                for point_run, _ in self._points_of(run):
                    self._tracking.move(point_run, self._run)

    def points(self) -> list[Point]:
        """The points of this search, from number 0 on without a gap."""
        found = {point.number: point for _, point in self._points_of(self._run)}
        points: list[Point] = []
        while (point := found.get(len(points))) is not None:
            points.append(point)
        return points

    def add(self, point: Point) -> None:
        """A run for the point. It is made with all its tags, so a kill leaves it as a whole or not at all."""
        tags = PointTags(
            candidate=self._tags.candidate,
            batch_id=self._tags.batch_id,
            batch_number=self._tags.batch_number,
            search=self._search,
            point=json.dumps(asdict(point)),
            outcome="given up" if point.value is None else "",
        )
        run = self._tracking.start(self._use_case, f"point {point.number + 1}", tags, self._run)
        metrics = {f"validation.{self._metric}": point.value, "seconds": point.seconds}
        self._tracking.log(run, params=point.params, metrics=metrics)
        if point.partial:
            name = f"partial.{self._metric}"
            self._tracking.log_series(run, [{name: value} for value in point.partial.values()])
        self._tracking.end(run)

    def _points_of(self, run: str) -> Iterator[tuple[str, Point]]:
        """(run, point) for each one of this search."""
        for child, found in self._tracking.children(self._use_case, run):
            tags = PointTags.from_mlflow(found)
            if tags.search == self._search:
                record = json.loads(tags.point)
                partial = {int(count): value for count, value in record["partial"].items()}
                yield child, Point(**record | {"partial": partial})


def _search(use_case: UseCase, candidate: Candidate, rows: str) -> str:
    """A digest of all that a point depends on: rows, code, libraries, metric, grid and space."""
    space = candidate.tuning.space if candidate.tuning else {}
    facts = [
        rows,
        commit(),
        libraries(),
        use_case.metric.name,
        list(candidate.grid),
        dict(space),
    ]
    return sha256(json.dumps(facts, default=repr).encode()).hexdigest()
