"""The demo's view of the loop: what it reports of the batches, and when it takes the loop for over."""

import io

import pytest
from rich.console import Console

from mlops_lab.data.payload import BatchShapeError
from mlops_lab.errors import ModelError
from mlops_lab.local import follow
from mlops_lab.local.follow import Loop, Progress
from mlops_lab.loop import run_batch
from tests.support.data_api import END
from tests.support.flats import batch, flats

pytestmark = pytest.mark.usefixtures("without_pictures")


class Airflow:
    """Runs one batch at each question for the runs, as the DAG would; then it is idle."""

    def __init__(self, lab, use_case, runs: int):
        self._lab, self._use_case, self._left = lab, use_case, runs
        self._paused = True

    def wait_for_dag(self, dag):
        pass

    def unpause(self, dag):
        self._paused = False

    def pause(self, dag):
        self._paused = True

    def runs(self, dag):
        if self._paused:
            return []
        if self._left:
            self._left -= 1
            try:
                run_batch(self._lab, self._use_case)
            except BatchShapeError:
                pass
        following = [{"dag_run_id": "next", "state": "queued"}] if self._left else []
        return [*following, {"dag_run_id": "r", "state": "success"}]

    def skipped_at_land(self, dag, run):
        return False


@pytest.fixture
def demo(lab, use_case, monkeypatch):
    """demo(runs, most) → the output of a demo whose Airflow makes so many runs."""
    monkeypatch.setattr(follow, "IDLE", 0.2)
    monkeypatch.setattr(follow.time, "sleep", lambda _: None)

    def follow_loop(runs: int, most: int | None = None) -> str:
        out = io.StringIO()
        progress = Progress(Console(file=out, width=300))
        airflow = Airflow(lab, use_case, runs)
        Loop(lab, use_case, airflow, None, progress, lambda: None, prediction_after=1.0).follow(most)
        return out.getvalue()

    return follow_loop


def test_a_broken_batch_is_said_and_counted_and_the_loop_goes_on(demo, course):
    course.will_answer((200, b"<html>[/b]</html>"), batch(1, flats(60)), END)
    printed = demo(runs=3, most=2)
    assert "a batch: broken, the payload isn't JSON" in printed
    assert "batch 1: version" in printed
    # At a second start the broken batch is an earlier one.
    assert "broken" not in demo(runs=0)


def test_a_batch_without_a_candidate_is_said_with_the_reasons(demo, course, monkeypatch):
    def refused(*_, **__):
        raise ModelError("the graph differs")

    monkeypatch.setattr("mlops_lab.model.train.learn", refused)
    course.will_answer(batch(1, flats(60)), END)
    assert "batch 1: no candidate can be served: the graph differs" in demo(runs=1)


def test_a_loop_that_ends_because_no_batch_brought_rows_says_so(demo, course, monkeypatch):
    monkeypatch.setattr("mlops_lab.steps.ingest.FRUITLESS", 1)
    course.will_answer((200, b"<html>"), END)
    assert "the newest 1 batches of flats brought no row" in demo(runs=1)
