"""The search of a tuned candidate: the points of its grid, then those that Optuna suggests.

Optuna's TPE sampler suggests (Bergstra et al., "Algorithms for hyper-parameter optimization", 2011). A suggested point
is first fitted on two growing shares of the training rows, and given up where it is worse than the median of the
points that were fitted on all rows. A point depends only on the seed and on the points before it, so a search
that was interrupted goes on as if it hadn't been.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mlops_lab.candidates import Candidate
from mlops_lab.contract import Contract
from mlops_lab.errors import ModelError
from mlops_lab.metrics import Metric
from mlops_lab.model import export
from mlops_lab.model.dask_rows import Remote
from mlops_lab.model.encoded_rows import Parts
from mlops_lab.model.memory import Memory
from mlops_lab.model.search import fit, validated
from mlops_lab.tuning import Tuning

if TYPE_CHECKING:
    from optuna import Study, Trial

# A point is first fitted on a ninth and on a third of the training rows, where these are so many rows.
PARTS = (9, 3)
FEWEST = 1000


@dataclass(frozen=True)
class Point:
    """One point of a search, as it ended.

    value:   the metric on validation rows; None when it was given up.
    partial: training rows → the metric on validation rows after learning from so many.
    seconds: of all its fits.
    """

    number: int
    params: dict[str, Any]
    value: float | None
    partial: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0


class Journal(Protocol):
    """Where the points of a search are kept, so that it can go on after it was interrupted."""

    def points(self) -> Sequence[Point]:
        """The points that ended before, from number 0 on without a gap."""
        ...

    def add(self, point: Point) -> None:
        """Keeps one more point."""
        ...


@dataclass(frozen=True)
class Known:
    """The points of an earlier search; further ones aren't kept."""

    earlier: Sequence[Point] = ()

    def points(self) -> Sequence[Point]:
        return self.earlier

    def add(self, point: Point) -> None:
        pass


def tune(
    tuning: Tuning,
    journal: Journal,
    metric: Metric,
    candidate: Candidate,
    contract: Contract,
    matrices: Parts,
    truths: Parts,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[export.Fitted, dict[str, Any], list[dict[str, Any]]]:
    """(fitted, parameters, trials) of the best point, by the metric on validation rows.

    Raises `ModelError` when a point can't be fitted.
    """
    memory = Memory()

    def learn(params: dict[str, Any], x: np.ndarray, y: np.ndarray) -> tuple[export.Fitted, float]:
        fitted = fit(candidate, contract, dict(params), x, y, seed, memory)
        return fitted, validated(metric, contract, fitted, matrices, truths)

    whole = matrices["train"], truths["train"]
    # Rows on other machines are learnt from whole: a share would have to be read there again.
    shares = [whole] if isinstance(whole[0], Remote) else [*_shares(*whole, seed), whole]
    study = _study(metric)
    points = list(journal.points())
    for point in points:
        study.add_trial(_as_trial(point, tuning))
    if points:
        progress(f"the search goes on after {len(points)} points that were fitted before")
    best, fitted = _best(metric, points), None
    while _goes_on(candidate, tuning, points):
        number, started = len(points), time.perf_counter()
        trial, params = _ask(study, candidate, tuning, number, seed)
        of_grid = number < len(candidate.grid)
        model, value, partial = _try(learn, params, shares, trial, to_the_end=of_grid)
        _tell(study, trial, value)
        point = Point(number, params, value, partial, time.perf_counter() - started)
        journal.add(point)
        points.append(point)
        result = f"{metric.name} {value:.4f} on validation" if value is not None else "given up"
        progress(f"{number + 1}/{tuning.most()} {_text(params)}: {result}, {point.seconds:.1f} s")
        if (found := _best(metric, points)) is not best:
            best, fitted = found, model
    if best is None:
        raise ModelError(f"{candidate.name}: its grid has no point")
    if fitted is None:
        fitted, _ = learn(best.params, *whole)
    trials = [
        {**point.params, metric.name: point.value, "seconds": point.seconds}
        for point in points
        if point.value is not None
    ]
    return fitted, best.params, trials


def _goes_on(candidate: Candidate, tuning: Tuning, points: list[Point]) -> bool:
    if len(points) < len(candidate.grid):
        return True
    spent = sum(point.seconds for point in points)
    return len(points) < tuning.most() and (tuning.seconds is None or spent < tuning.seconds)


def _best(metric: Metric, points: list[Point]) -> Point | None:
    """The best point that was fitted on all rows; of equal ones the first."""
    ended = [point for point in points if point.value is not None]
    return max(ended, key=lambda point: metric.sign * (point.value or 0.0), default=None)


def _shares(x: np.ndarray, y: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(x, y) of growing shares of the training rows, each one within the next; not all of them."""
    order = np.random.default_rng(seed).permutation(len(y))
    for part in PARTS:
        some = np.sort(order[: len(y) // part])
        # With few rows a fit takes no time, and the order of the points is chance.
        if len(some) >= FEWEST and len(np.unique(y[some])) > 1:
            yield x[some], y[some]


def _try(
    learn: Callable[..., tuple[export.Fitted, float]],
    params: dict[str, Any],
    shares: Sequence[tuple[np.ndarray, np.ndarray]],
    trial: "Trial",
    *,
    to_the_end: bool,
) -> tuple[export.Fitted | None, float | None, dict[int, float]]:
    """(fitted, metric on validation rows, the same by training rows); the first two are None when it is given up.

    shares: the last one has all training rows.
    """
    partial: dict[int, float] = {}
    for x, y in shares[:-1]:
        _, partial[len(y)] = learn(params, x, y)
        trial.report(partial[len(y)], len(y))
        if not to_the_end and trial.should_prune():
            return None, None, partial
    return *learn(params, *shares[-1]), partial


def _study(metric: Metric) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize" if metric.greater_is_better else "minimize", pruner=optuna.pruners.MedianPruner()
    )


def _ask(
    study: "Study", candidate: Candidate, tuning: Tuning, number: int, seed: int
) -> tuple["Trial", dict[str, Any]]:
    """(Optuna's trial, all parameters) of the point of this number."""
    from optuna.samplers import TPESampler

    # A seed for each point: a sampler that lived longer would depend on what was drawn in this process.
    study.sampler = TPESampler(seed=seed + number)
    space = _distributions(tuning)
    if number >= len(candidate.grid):
        trial = study.ask(space)
        return trial, {**candidate.grid[0], **trial.params}
    point = dict(candidate.grid[number])
    told = {name: point[name] for name in point if tuning.has(name, point[name])}
    study.enqueue_trial(told)
    return study.ask({name: space[name] for name in told}), point


def _tell(study: "Study", trial: "Trial", value: float | None) -> None:
    from optuna.trial import TrialState

    study.tell(trial, value, TrialState.PRUNED if value is None else TrialState.COMPLETE)


def _as_trial(point: Point, tuning: Tuning) -> Any:
    """A point that ended before, as Optuna knows it."""
    from optuna.trial import TrialState, create_trial

    space = _distributions(tuning)
    told = {name: value for name, value in point.params.items() if tuning.has(name, value)}
    given_up = point.value is None
    return create_trial(
        state=TrialState.PRUNED if given_up else TrialState.COMPLETE,
        value=point.partial[max(point.partial)] if given_up else point.value,
        params=told,
        distributions={name: space[name] for name in told},
        intermediate_values=point.partial,
    )


def _distributions(tuning: Tuning) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name, values in tuning.space.items():
        if isinstance(values, list):
            found[name] = CategoricalDistribution(values)
        else:
            low, high, *log = values
            kind = IntDistribution if tuning.whole(name) else FloatDistribution
            found[name] = kind(low, high, log=bool(log))
    return found


def _text(params: dict[str, Any]) -> str:
    shown = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
    return ", ".join(shown) or "defaults"
