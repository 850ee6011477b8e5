"""The search of a tuned candidate through the loop: its points are runs in MLflow, and a killed training goes on."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mlops_lab import retention
from mlops_lab.candidates import ridge, tuned
from mlops_lab.data.database import now
from mlops_lab.loop import run_batch, train_now
from mlops_lab.model.tags import PointTags
from mlops_lab.steps.reproduce import reproduce
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")


class Killed(BaseException):
    pass


@pytest.fixture
def tuning(use_case):
    """The small use case with one candidate, of six points."""
    candidate = tuned(ridge((1e6, 10.0)), {"alpha": (1e-3, 1e7, "log")}, trials=6)
    return replace(use_case, candidates=[candidate])


def points(lab, run):
    """Name → run of the points of a candidate's run."""
    runs = [lab.registry.client.get_run(child) for child, _ in lab.tracking.children("flats", run)]
    return {run.info.run_name: run for run in runs}


def killed(lab, use_case, after, monkeypatch):
    """A batch whose process is killed after the point of this number: nobody ends its runs."""

    def progress(line):
        if f"tuned_ridge: {after}" in line:
            raise Killed

    lab.progress = progress
    with monkeypatch.context() as patch:
        patch.setattr(lab.tracking, "end", lambda *_, **__: None)
        with pytest.raises(Killed):
            run_batch(lab, use_case)


def fitted(lines):
    """The points that a training fitted, as its progress says."""
    return [line.split()[1] for line in lines if line.startswith("tuned_ridge: ") and "/6 " in line]


def test_a_killed_training_goes_on_with_the_points_that_ended(lab, tuning, course, monkeypatch):
    course.will_answer(batch(1, flats(300)), batch(2, flats(20)), END)

    killed(lab, tuning, after="3/6", monkeypatch=monkeypatch)
    [entry] = lab.ledger.batches("flats")
    [(first, _)] = lab.tracking.children("flats", entry.mlflow_run)
    before = points(lab, first)
    assert sorted(before) == ["point 1", "point 2", "point 3"]

    # Another space is another search, which takes none of these points.
    other = replace(tuning, candidates=[tuned(ridge((1e6, 10.0)), {"alpha": (1.0, 9.0)}, trials=6)])
    killed(lab, other, after="1/6", monkeypatch=monkeypatch)
    assert points(lab, first).keys() == before.keys()
    second = lab.tracking.children("flats", entry.mlflow_run)[0][0]
    assert list(points(lab, second)) == ["point 1"]

    lines = []
    lab.progress = lines.append
    assert run_batch(lab, tuning).outcome.promoted
    assert fitted(lines) == ["4/6", "5/6", "6/6"]
    champion = lab.champion("flats")
    after = points(lab, champion.run_id)
    assert sorted(after) == [f"point {number}" for number in range(1, 7)]
    # The same runs, now beneath the candidate's run that used them.
    assert all(after[name].info.run_id == run.info.run_id for name, run in before.items())
    assert points(lab, first) == {}
    assert [float(after[name].data.params["alpha"]) for name in ("point 1", "point 2")] == [1e6, 10.0]
    best = min(after.values(), key=lambda run: run.data.metrics["validation.rmse"])
    chosen = lab.registry.client.get_run(champion.run_id).data.params["alpha"]
    assert chosen == best.data.params["alpha"] != "10.0"
    assert PointTags.from_mlflow(best.data.tags).batch_id == entry.id

    # The version comes out again from the recorded points.
    lines.clear()
    assert reproduce(lab, tuning, champion.version).same
    assert not [line for line in lines if "/6 " in line]

    # A training that a person asks for is a new search.
    train_now(lab, tuning)
    assert len(fitted(lines)) == 6
    assert len(points(lab, champion.run_id)) == 6

    # The points are kept as long as their candidate's run, and no longer.
    run_batch(lab, tuning)
    monkeypatch.setattr(retention, "now", lambda: now() + timedelta(days=365))
    retention.clean(lab)
    assert lab.registry.client.get_run(second).info.lifecycle_stage == "deleted"
    assert points(lab, second) == {}
    assert len(points(lab, champion.run_id)) == 6
