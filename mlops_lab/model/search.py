"""The search for a candidate's parameters: each point of its grid is fitted, the best on validation rows is kept."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlops_lab.candidates import Candidate
from mlops_lab.contract import Contract
from mlops_lab.errors import LabError, ModelError, first_line
from mlops_lab.features import Number
from mlops_lab.metrics import Metric
from mlops_lab.model import export
from mlops_lab.model.dask_rows import Remote
from mlops_lab.model.encoded_rows import Parts
from mlops_lab.model.memory import Memory


def search(
    metric: Metric,
    candidate: Candidate,
    contract: Contract,
    matrices: Parts,
    truths: Parts,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[export.Fitted, dict[str, Any], list[dict[str, Any]]]:
    """(fitted, parameters, trials) of the best point of the grid, by the metric on validation rows."""
    best: export.Fitted | None = None
    best_rank, best_params = -np.inf, dict[str, Any]()
    trials: list[dict[str, Any]] = []
    memory = Memory() if len(candidate.grid) > 1 else None
    for number, params in enumerate(candidate.grid, 1):
        started = time.perf_counter()
        fitted = fit(candidate, contract, dict(params), matrices["train"], truths["train"], seed, memory)
        value = validated(metric, contract, fitted, matrices, truths)
        seconds = time.perf_counter() - started
        trials.append({**params, metric.name: value, "seconds": seconds})
        point = _point(params) or "defaults"
        progress(
            f"{number}/{len(candidate.grid)} {point}: {metric.name} {value:.4f} on validation, {seconds:.1f} s"
        )
        if best is None or metric.sign * value > best_rank:
            best, best_rank, best_params = fitted, metric.sign * value, dict(params)
    if best is None:
        raise ModelError(f"{candidate.name}: its grid has no point")
    return best, best_params, trials


def _point(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in params.items())


def validated(
    metric: Metric, contract: Contract, fitted: export.Fitted, matrices: Parts, truths: Parts
) -> float:
    """The metric on validation rows. Raises `ModelError` when it isn't defined there."""
    value = metric(truths["validation"], fitted.output(matrices["validation"]))
    if not np.isfinite(value):
        raise ModelError(
            f"{contract.use_case}: {metric.name} isn't defined on the {len(truths['validation'])} validation "
            "rows; it takes more data"
        )
    return value


def fit(
    candidate: Candidate,
    contract: Contract,
    params: dict[str, Any],
    x: np.ndarray | Remote,
    y: np.ndarray,
    seed: int,
    memory: Memory | None = None,
) -> export.Fitted:
    """The candidate at one point, fitted on encoded rows `x` (n, features) and their ground truth `y` (n,).

    x:      an array, or such rows on other machines.
    memory: has the steps that were fitted on the same rows for other points.
    Raises `ModelError` when its library refuses the parameters or the rows.
    """
    try:
        return _fitted(candidate, contract, params, x, y, seed, memory)
    except (LabError, MemoryError):
        raise
    except Exception as error:  # of any library that a use case's candidate calls
        point = f" with {_point(params)}" if params else ""
        raise ModelError(f"it can't learn{point}: {first_line(error, with_class=True)}") from error


def _fitted(
    candidate: Candidate,
    contract: Contract,
    params: dict[str, Any],
    x: np.ndarray | Remote,
    y: np.ndarray,
    seed: int,
    memory: Memory | None,
) -> export.Fitted:
    pipeline = candidate.build(contract, params, seed)
    if memory and not candidate.sampler:  # which makes other rows for each point
        pipeline.set_params(memory=memory)
    if contract.task == "regression":
        target = contract.target
        minimum, maximum = (target.minimum, target.maximum) if isinstance(target, Number) else (None, None)
        bounds = (-np.inf if minimum is None else minimum, np.inf if maximum is None else maximum)
        if candidate.log_target:
            if y.min() < 0:
                raise ModelError(f"{candidate.name}: log_target needs a {target.name} that is never negative")
            y = np.log1p(y)
            # Clip to the training range: after `expm1`, a small extrapolation error becomes huge.
            bounds = (float(y.min()), float(y.max()))
        return export.Fitted(_learnt(pipeline, x, y, candidate.log_target), bounds, candidate.log_target)
    classes = len(contract.classes)
    prior = np.bincount(y.astype(int), minlength=classes) / len(y)
    weights = (prior > 0).astype(float)
    if candidate.sampler:
        x, y = candidate.sampler(seed).fit_resample(x, y.astype(int))
        sampled = np.bincount(y.astype(int), minlength=classes) / len(y)
        weights = np.divide(prior, sampled, out=np.zeros(classes), where=sampled > 0)
    pipeline = _learnt(pipeline, x, y.astype(int))
    # A rare class may be absent from the first batches.
    seen = np.asarray(pipeline.classes_, dtype=int)
    class_weights = np.zeros((len(seen), classes))
    class_weights[np.arange(len(seen)), seen] = weights[seen]
    return export.Fitted(pipeline, class_weights=class_weights)


def _learnt(pipeline: Any, x: np.ndarray | Remote, y: np.ndarray, log: bool = False) -> Any:
    """The fitted pipeline; y is the target as the pipeline learns it."""
    if isinstance(x, Remote):
        return x.learn(pipeline, log)
    return export.single(pipeline.fit(x, y))
